//! The table: a Secret, the annotations that it needs besides `.secret` and `.format`, and the file in each format. The
//! password is always `test:p@ss/w%rd "1"`.

/// One Secret and one set of annotations.
pub(crate) struct Case {
    /// The name of the fixture.
    pub(crate) fixture: &'static str,
    /// Annotation keys and values, besides `.secret` and `.format`. A comment gives the reason for them.
    pub(crate) annotations: &'static [(&'static str, &'static str)],
    /// Formats and the complete file.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

/// Every Secret, with the fewest annotations first.
pub(crate) const CASES: &[Case] = &[
    Case {
        fixture: "cloudnative-pg",
        annotations: &[],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rw:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders-rw:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-rw' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-rw:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-rw\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    Case {
        fixture: "crunchy-pgo",
        annotations: &[],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-primary.prod.svc:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders-primary.prod.svc:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-primary.prod.svc' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-primary.prod.svc:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-primary.prod.svc\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    // Through PgBouncer: the Secret contains both addresses. `uri` identifies the engine.
    Case {
        fixture: "crunchy-pgo",
        annotations: &[("keys", "user, password, dbname, uri, host=pgbouncer-host, port=pgbouncer-port")],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-pgbouncer.prod.svc:5432/orders",
            ),
            (
                "jdbc",
                "jdbc:postgresql://orders-pgbouncer.prod.svc:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-pgbouncer.prod.svc' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-pgbouncer.prod.svc:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-pgbouncer.prod.svc\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    Case {
        fixture: "percona-postgresql",
        annotations: &[],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-primary.prod.svc:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders-primary.prod.svc:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-primary.prod.svc' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-primary.prod.svc:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-primary.prod.svc\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    // Through PgBouncer: the Secret contains both addresses. `uri` identifies the engine.
    Case {
        fixture: "percona-postgresql",
        annotations: &[("keys", "user, password, dbname, uri, host=pgbouncer-host, port=pgbouncer-port")],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-pgbouncer.prod.svc:5432/orders",
            ),
            (
                "jdbc",
                "jdbc:postgresql://orders-pgbouncer.prod.svc:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-pgbouncer.prod.svc' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-pgbouncer.prod.svc:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-pgbouncer.prod.svc\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    // The Secret contains only the user and the password.
    Case {
        fixture: "zalando",
        annotations: &[("engine", "postgresql"), ("set", "host=acid-orders, database=orders")],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@acid-orders:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://acid-orders:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            ("libpq", "host='acid-orders' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'"),
            ("pgpass", "acid-orders:*:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            ("pgservice", "[db]\nhost=acid-orders\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n"),
        ],
    },
    // The formats of libpq do not need an engine.
    Case {
        fixture: "zalando",
        annotations: &[("set", "host=acid-orders, database=orders")],
        files: &[
            ("libpq", "host='acid-orders' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'"),
            ("pgpass", "acid-orders:*:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            ("pgservice", "[db]\nhost=acid-orders\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n"),
        ],
    },
    // The Secret contains user and password twice: in keys of their own, and in `_raw`, which podcreds skips.
    Case {
        fixture: "vault-secrets-operator",
        annotations: &[("engine", "postgresql"), ("set", "host=orders, database=orders")],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            ("libpq", "host='orders' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'"),
            ("pgpass", "orders:*:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            ("pgservice", "[db]\nhost=orders\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n"),
        ],
    },
    // Vault's whole response, `_raw`, is skipped.
    Case {
        fixture: "vault-secrets-operator-kv",
        annotations: &[("engine", "postgresql")],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.prod.svc:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders.prod.svc:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            ("pgpass", "orders.prod.svc:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
        ],
    },
    // The Secret contains only user and password.
    Case {
        fixture: "external-secrets-vault",
        annotations: &[("engine", "postgresql"), ("set", "host=orders, database=orders")],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders:5432/orders"),
            ("pgservice", "[db]\nhost=orders\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n"),
        ],
    },
    // One key contains the whole JSON.
    Case {
        fixture: "external-secrets-json",
        annotations: &[(
            "keys",
            "engine=credentials#/engine, host=credentials#/host, port=credentials#/port, username=credentials#/username, \
             password=credentials#/password, dbname=credentials#/dbname",
        )],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.abc123.eu-central-1.rds.amazonaws.com:5432/orders",
            ),
            (
                "pgpass",
                "orders.abc123.eu-central-1.rds.amazonaws.com:5432:orders:app:test\\:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    // The Secret contains only passwords.
    Case {
        fixture: "bitnami-postgresql",
        annotations: &[
            ("engine", "postgresql"),
            ("set", "username=app, host=orders-postgresql, database=orders"),
        ],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-postgresql:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders-postgresql:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            ("libpq", "host='orders-postgresql' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'"),
            ("pgpass", "orders-postgresql:*:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-postgresql\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    Case {
        fixture: "bitnami-postgresql-svcbind",
        annotations: &[],
        files: &[
            ("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-postgresql:5432/orders"),
            (
                "jdbc",
                "jdbc:postgresql://orders-postgresql:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders-postgresql' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            ("pgpass", "orders-postgresql:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-postgresql\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    // The Secret contains only passwords, each under the name of a user.
    Case {
        fixture: "bitnami-mysql",
        annotations: &[
            ("engine", "mysql"),
            ("keys", "password=mysql-password"),
            ("set", "username=app, host=orders-mysql, database=orders"),
        ],
        files: &[
            ("uri", "mysql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mysql:3306/orders"),
            (
                "jdbc",
                "jdbc:mysql://orders-mysql:3306/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders-mysql\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    // As with MySQL.
    Case {
        fixture: "bitnami-mariadb",
        annotations: &[
            ("engine", "mariadb"),
            ("keys", "password=mariadb-password"),
            ("set", "username=app, host=orders-mariadb, database=orders"),
        ],
        files: &[
            ("uri", "mariadb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mariadb:3306/orders"),
            ("jdbc", "jdbc:mariadb://orders-mariadb:3306/orders?user=app&password=test:p@ss/w%rd \"1\""),
            (
                "mycnf",
                "[client]\nhost=\"orders-mariadb\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    Case {
        fixture: "bitnami-mariadb-svcbind",
        annotations: &[],
        files: &[
            ("uri", "mysql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mariadb:3306/orders"),
            (
                "jdbc",
                "jdbc:mysql://orders-mariadb:3306/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders-mariadb\"\nport=\"3306\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    // For MariaDB's own clients and driver: the chart writes `type: mysql`.
    Case {
        fixture: "bitnami-mariadb-svcbind",
        annotations: &[("engine", "mariadb")],
        files: &[
            ("uri", "mariadb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mariadb:3306/orders"),
            ("jdbc", "jdbc:mariadb://orders-mariadb:3306/orders?user=app&password=test:p@ss/w%rd \"1\""),
        ],
    },
    // The Secret contains only passwords.
    Case {
        fixture: "bitnami-mongodb",
        annotations: &[
            ("engine", "mongodb"),
            ("keys", "password=mongodb-passwords"),
            ("set", "username=app, host=orders-mongodb, database=orders"),
        ],
        files: &[("uri", "mongodb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mongodb:27017/orders")],
    },
    // The Secret contains only the password.
    Case {
        fixture: "bitnami-redis",
        annotations: &[
            ("engine", "redis"),
            ("keys", "password=redis-password"),
            ("set", "host=orders-redis-master"),
        ],
        files: &[("uri", "redis://default:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-redis-master:6379")],
    },
    Case {
        fixture: "bitnami-redis-svcbind",
        annotations: &[],
        files: &[("uri", "redis://default:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-redis-master:6379")],
    },
    // The Secret contains only the password and the cookie.
    Case {
        fixture: "bitnami-rabbitmq",
        annotations: &[
            ("engine", "amqp"),
            ("keys", "password=rabbitmq-password"),
            ("set", "username=app, host=orders-rabbitmq"),
        ],
        files: &[("uri", "amqp://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rabbitmq:5672")],
    },
    Case {
        fixture: "bitnami-rabbitmq-svcbind",
        annotations: &[],
        files: &[(
            "uri",
            "amqp://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rabbitmq.prod.svc.cluster.local:5672",
        )],
    },
    // Each key is a user, and the Secret has no address.
    Case {
        fixture: "percona-pxc",
        annotations: &[
            ("engine", "mysql"),
            ("keys", "password=root"),
            ("set", "username=root, host=orders-haproxy, database=orders"),
        ],
        files: &[
            ("uri", "mysql://root:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-haproxy:3306/orders"),
            (
                "jdbc",
                "jdbc:mysql://orders-haproxy:3306/orders?user=root&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders-haproxy\"\nuser=\"root\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    Case {
        fixture: "percona-mysql",
        annotations: &[],
        files: &[
            ("uri", "mysql://root:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-mysql-primary.prod.svc:3306"),
            (
                "jdbc",
                "jdbc:mysql://orders-mysql-primary.prod.svc:3306/?user=root&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders-mysql-primary.prod.svc\"\nport=\"3306\"\nuser=\"root\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n",
            ),
        ],
    },
    // Through the proxy, and with a database, which the Secret does not have.
    Case {
        fixture: "percona-mysql",
        annotations: &[
            ("keys", "user, password, uri, host=proxy-host, port=proxy-port"),
            ("set", "database=orders"),
        ],
        files: &[
            ("uri", "mysql://root:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-haproxy.prod.svc:3306/orders"),
            (
                "jdbc",
                "jdbc:mysql://orders-haproxy.prod.svc:3306/orders?user=root&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders-haproxy.prod.svc\"\nport=\"3306\"\nuser=\"root\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    // The Secret contains many users and no address.
    Case {
        fixture: "percona-mongodb",
        annotations: &[
            ("engine", "mongodb"),
            ("keys", "username=MONGODB_DATABASE_ADMIN_USER, password=MONGODB_DATABASE_ADMIN_PASSWORD"),
            ("set", "host=orders-rs0.prod.svc, database=admin, replicaSet=rs0"),
        ],
        files: &[(
            "uri",
            "mongodb://databaseAdmin:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rs0.prod.svc:27017/admin?replicaSet=rs0",
        )],
    },
    // The names of the keys begin with those of the user and the replica set.
    Case {
        fixture: "percona-mongodb-conn-str",
        annotations: &[("keys", "uri=app_rs0_connectionString")],
        files: &[(
            "uri",
            "mongodb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rs0-0.orders-rs0.prod.svc.cluster.local:27017,orders-rs0-1.orders-rs0.prod.svc.cluster.local:27017,orders-rs0-2.orders-rs0.prod.svc.cluster.local:27017/?authSource=orders&replicaSet=rs0&tls=true",
        )],
    },
    // The other URI, with a database and an option, which take precedence over those in the URI.
    Case {
        fixture: "percona-mongodb-conn-str",
        annotations: &[
            ("keys", "uri=app_rs0_connectionStringSrv"),
            ("set", "database=orders, appName=orders"),
        ],
        files: &[(
            "uri",
            "mongodb+srv://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-rs0.prod.svc.cluster.local/orders?appName=orders&authSource=orders&replicaSet=rs0&tls=true",
        )],
    },
    Case {
        fixture: "mongodb-community",
        annotations: &[],
        files: &[(
            "uri",
            "mongodb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-0.orders-svc.prod.svc.cluster.local:27017,orders-1.orders-svc.prod.svc.cluster.local:27017,orders-2.orders-svc.prod.svc.cluster.local:27017/admin?replicaSet=orders&ssl=true",
        )],
    },
    // The other URI of the two.
    Case {
        fixture: "mongodb-community",
        annotations: &[("keys", "username, password, uri=connectionString.standardSrv")],
        files: &[(
            "uri",
            "mongodb+srv://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-svc.prod.svc.cluster.local/admin?replicaSet=orders&ssl=true",
        )],
    },
    Case {
        fixture: "rabbitmq-cluster-operator",
        annotations: &[],
        files: &[("uri", "amqp://default_user_test:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.prod.svc:5672")],
    },
    Case {
        fixture: "rabbitmq-cluster-operator-tls",
        annotations: &[],
        files: &[("uri", "amqps://default_user_test:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.prod.svc:5671")],
    },
    Case {
        fixture: "service-binding",
        annotations: &[],
        files: &[
            ("uri", "mysql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-db:3306"),
            ("jdbc", "jdbc:mysql://orders-db:3306/?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22"),
            (
                "mycnf",
                "[client]\nhost=\"orders-db\"\nport=\"3306\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n",
            ),
        ],
    },
    // The specification has no entry for the database.
    Case {
        fixture: "service-binding",
        annotations: &[("set", "database=orders")],
        files: &[
            ("uri", "mysql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-db:3306/orders"),
            ("jdbc", "jdbc:mysql://orders-db:3306/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22"),
            (
                "mycnf",
                "[client]\nhost=\"orders-db\"\nport=\"3306\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    Case {
        fixture: "service-binding-uri",
        annotations: &[],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-db.prod.svc:6432/orders?sslmode=verify-full",
            ),
            (
                "jdbc",
                "jdbc:postgresql://orders-db.prod.svc:6432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22&sslmode=verify-full",
            ),
            (
                "libpq",
                "host='orders-db.prod.svc' port='6432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"' sslmode='verify-full'",
            ),
            ("pgpass", "orders-db.prod.svc:6432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
            (
                "pgservice",
                "[db]\nhost=orders-db.prod.svc\nport=6432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\nsslmode=verify-full\n",
            ),
        ],
    },
    Case {
        fixture: "external-secrets-rds",
        annotations: &[],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.abc123.eu-central-1.rds.amazonaws.com:5432/orders",
            ),
            (
                "jdbc",
                "jdbc:postgresql://orders.abc123.eu-central-1.rds.amazonaws.com:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "libpq",
                "host='orders.abc123.eu-central-1.rds.amazonaws.com' port='5432' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"'",
            ),
            (
                "pgpass",
                "orders.abc123.eu-central-1.rds.amazonaws.com:5432:orders:app:test\\:p@ss/w%rd \"1\"\n",
            ),
            (
                "pgservice",
                "[db]\nhost=orders.abc123.eu-central-1.rds.amazonaws.com\nport=5432\ndbname=orders\nuser=app\npassword=test:p@ss/w%rd \"1\"\n",
            ),
        ],
    },
    Case {
        fixture: "external-secrets-aurora",
        annotations: &[],
        files: &[
            (
                "uri",
                "mysql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.cluster-abc123.eu-central-1.rds.amazonaws.com:3306/orders",
            ),
            (
                "jdbc",
                "jdbc:mysql://orders.cluster-abc123.eu-central-1.rds.amazonaws.com:3306/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            (
                "mycnf",
                "[client]\nhost=\"orders.cluster-abc123.eu-central-1.rds.amazonaws.com\"\nport=\"3306\"\nuser=\"app\"\npassword=\"test:p@ss/w%rd \\\"1\\\"\"\n\n[mysql]\ndatabase=\"orders\"\n",
            ),
        ],
    },
    Case {
        fixture: "external-secrets-documentdb",
        annotations: &[],
        files: &[(
            "uri",
            "mongodb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.cluster-abc123.eu-central-1.docdb.amazonaws.com:27017/",
        )],
    },
    // Only fields that the annotations name become options.
    Case {
        fixture: "external-secrets-documentdb",
        annotations: &[("keys", "engine, host, port, username, password, ssl"), ("set", "replicaSet=rs0")],
        files: &[(
            "uri",
            "mongodb://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders.cluster-abc123.eu-central-1.docdb.amazonaws.com:27017/?ssl=true&replicaSet=rs0",
        )],
    },
    Case {
        fixture: "heroku",
        annotations: &[],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@ec2-192-0-2-1.compute-1.amazonaws.com:5432/orders",
            ),
            (
                "jdbc",
                "jdbc:postgresql://ec2-192-0-2-1.compute-1.amazonaws.com:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22",
            ),
            ("pgpass", "ec2-192-0-2-1.compute-1.amazonaws.com:5432:orders:app:test\\:p@ss/w%rd \"1\"\n"),
        ],
    },
    Case {
        fixture: "heroku",
        annotations: &[(
            "keys",
            "PGHOST=host, PGPORT=port, PGUSER=username, PGPASSWORD=password, PGDATABASE=database",
        )],
        files: &[(
            "env",
            "export PGDATABASE='orders'\nexport PGHOST='ec2-192-0-2-1.compute-1.amazonaws.com'\nexport PGPASSWORD='test:p@ss/w%rd \"1\"'\nexport PGPORT='5432'\nexport PGUSER='app'\n",
        )],
    },
    Case {
        fixture: "neon",
        annotations: &[],
        files: &[
            (
                "libpq",
                "host='ep-cool-darkness-a1b2c3d4-pooler.us-east-2.aws.neon.tech' dbname='orders' user='app' password='test:p@ss/w%rd \"1\"' sslmode='require' channel_binding='require'",
            ),
            (
                "jdbc",
                "jdbc:postgresql://ep-cool-darkness-a1b2c3d4-pooler.us-east-2.aws.neon.tech:5432/orders?user=app&password=test%3Ap%40ss%2Fw%25rd%20%221%22&sslmode=require&channel_binding=require",
            ),
        ],
    },
    Case {
        fixture: "aiven",
        annotations: &[],
        files: &[
            (
                "uri",
                "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-example.a.aivencloud.com:13041/orders?sslmode=require",
            ),
            ("pgpass", "orders-example.a.aivencloud.com:13041:orders:app:test\\:p@ss/w%rd \"1\"\n"),
        ],
    },
    // A pooler or replica of CloudNativePG.
    Case {
        fixture: "cloudnative-pg",
        annotations: &[("override", "host=orders-pooler-rw")],
        files: &[("uri", "postgresql://app:test%3Ap%40ss%2Fw%25rd%20%221%22@orders-pooler-rw:5432/orders")],
    },
];
