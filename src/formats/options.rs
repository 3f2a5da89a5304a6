//! Which options the field `options` and the query of a URI may set.
//!
//! These values come from a source, whose editors may not be allowed to read the Secret with the password.
//! Clients have many names for a server, a user or a database (`hostaddr`, `PGHOST`, `loose-host`, `hos`, `uid`), and others
//! that load code (`plugin-dir`, `socketFactory`, `TNS_ADMIN`), and new versions add more. So the lists have the names that are
//! harmless, and nothing else. `.keys` and `.set` may name any option, because the author of the annotations decides that.
//! The list applies to `.set: options=…` too: a name that is not listed is often a mistake there, such as `-c search_path`.
//!
//! Sources: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>,
//! <https://jdbc.postgresql.org/documentation/use/#connection-parameters>,
//! <https://dev.mysql.com/doc/refman/8.4/en/mysql-command-options.html>,
//! <https://dev.mysql.com/doc/connector-j/en/connector-j-reference-configuration-properties.html>,
//! <https://learn.microsoft.com/en-us/sql/connect/jdbc/setting-the-connection-properties>,
//! the drivers of .NET in docs/formats/adonet.md,
//! <https://www.mongodb.com/docs/manual/reference/connection-string-options/>,
//! and the documentation of the clients in docs/formats/uri.md. For users the lists are in docs/formats/options.md.

use crate::credential::Engine;

/// Whose options a connection has in a format.
#[derive(Clone, Copy)]
pub(crate) enum OptionSet {
    /// Those of the connection's own engine.
    OfConnection,
    /// Those of the clients that read the format.
    Of(Engine),
    /// The format has no options, so none is read.
    Empty,
}

/// Options of clients and pools for several engines, in the form of [`spelling`].
const COMMON: &str = "\
    acquiretimeout applicationname appname atomicrequests autocommit characterencoding charset checkouttimeout \
    clientname compress connectionlifetime connectionlimit connectionreset connectiontimeout connecttimeout \
    connhealthchecks connmaxage connmaxidletime connmaxlifetime decoderesponses defaultfetchsize dialtimeout \
    disableserversidecursors encoding encrypt enlist healthcheckinterval idletimeout keepalive logintimeout \
    maxconnectionlifetime maxconnections maxidleconnectionlifetime maxidleconns maxidletime maximumpoolsize \
    maxlifetime maxopenconns maxpoolsize maxretries minidleconns minimumpoolsize minpoolsize pool pooling poolname \
    poolsize pooltimeout queuelimit readtimeout reconnect serverversion skipverify socketconnecttimeout \
    socketkeepalive sockettimeout ssl sslaccept sslca sslcacerts sslcert sslcertfile sslcertreqs sslcheckhostname \
    sslcipher sslcrl sslidentity sslkey sslkeyfile sslmode sslpassword sslrootcert statementcachesize tcpkeepalive \
    tcpnodelay timeout timezone tls tlsversion usessl writetimeout";

const POSTGRESQL: &str = "\
    adaptivefetch adaptivefetchmaximum adaptivefetchminimum advisorylocks allowencodingchanges arraynullabilitymode \
    assumeminserverversion asyncfallback autoprepareminusages autosave binaryparameters binarytransfer \
    cancellationtimeout cancelsignaltimeout channelbinding checkcertificaterevocation cleanupsavepoints clientencoding \
    clientminmessages commandtimeout connectionidlelifetime connectionpruninginterval currentschema \
    databasemetadatacachefields databasemetadatacachefieldsmib datestyle defaultqueryexecmode defaultrowfetchsize \
    defaulttransactionisolation defaulttransactionreadonly descriptioncachecapacity directtls disablecolumnsanitiser \
    disablepreparedbinaryresult escapesyntaxcallmode extrafloatdigits fallbackapplicationname fetchtypes \
    groupstartupparameters gssencmode gssencryptionmode gssresponsetimeout hideunprivilegedobjects hostrecheckseconds \
    idleintransactionsessiontimeout internalcommandtimeout intervalstyle jit keepalives keepalivescount keepalivesidle \
    keepalivesinterval loadbalancehosts loadtablecomposites locktimeout logservererrordetail logunclosedconnections \
    maxautoprepare maxprotocolversion maxresultbuffer maxsendbuffersize minmessages minprotocolversion multiplexing \
    noresetonclose options pgbouncer poolhealthcheckperiod poolmaxconnidletime poolmaxconnlifetime \
    poolmaxconnlifetimejitter poolmaxconns poolminconns poolminidleconns preferquerymode prepare \
    preparedstatementcachequeries preparedstatementcachesize preparedstatementcachesizemib preparedstatements \
    preparethreshold protocolversion queueinterval queuetarget quotereturningidentifiers readbuffersize readonly \
    readonlymode reapingfrequency receivebuffersize replication requireauth requiressl rewritebatchedinserts \
    rootcertificate schema schemasearchpath searchpath sendbuffersize servercompatibilitymode singleuseconnections \
    socketreceivebuffersize socketsendbuffersize sslcertificate sslcertmode sslcompression sslcrldir sslinline \
    sslmaxprotocolversion sslminprotocolversion sslnegotiation sslresponsetimeout sslsni statementcachecapacity \
    statementlimit statementtimeout stringtype supa targetservertype targetsessionattributes targetsessionattrs \
    tcpkeepaliveinterval tcpkeepalivetime tcpusertimeout trustservercertificate unknownlength uselibpqcompat \
    workaround workmem writebuffersize";

const MYSQL: &str = "\
    allowmultiqueries allownativepasswords allowpublickeyretrieval allowuservariables allowzerodatetime \
    alwayssendsetisolation autoenlist autoreconnect autoreconnectforpools bignumberstrings binaryprefix \
    blobsarestrings cachecallablestmts cacheprepstmts cacheresultsetmetadata cacheserverconfiguration \
    callablestmtcachesize cancellationtimeout characterset charactersetresults checkconnliveness clientfoundrows \
    clobcharacterencoding collation columnswithalias commandtimeout compressionalgorithms connectexpiredpassword \
    connectionattributes connectioncollation connectionidletimeout connectiontimezone convertzerodatetime \
    createdatabaseifnotexist datestrings datetimekind decimalnumbers defaultcharacterset defaultcommandtimeout \
    disablemariadbdriver disconnectonexpiredpasswords dumpqueriesonexception elidesetautocommits \
    enabledsslciphersuites enabledsslprotocolsuites enabledtlsprotocols enablekeepalive failoverreadonly \
    forceconnectiontimezonetosession getserverpublickey guidformat holdresultsopenoverstatementclose \
    ignorecommandtransaction ignoreprepare initialtimeout interactivesession interpolateparams isolationlevel \
    jdbccomplianttruncation keepaliveinitialdelay loadbalance maintaintimestats maxallowedpacket maxidle maxreconnects \
    maxrows multiplestatements multistatements namedplaceholders netbufferlength nettimeoutforstreamingresults \
    nullcatalogmeanscurrent nulldatabasemeanscurrent nullnamepatternmatchesall oldguids parsetime \
    passwordcharacterencoding permitmysqlscheme pipelining poolvalidmindelay prepstmtcachesize prepstmtcachesqllimit \
    preserveinstants querytimeoutkillsconnection quick rejectreadonly requiressl rewritebatchedstatements secureauth \
    sendfractionalseconds servertimezone sqlmode sslcapath sslcrlpath ssldisabled sslfipsmode sslverifycert \
    sslverifyidentity sslverifyservercert strict supportbignumbers tcprcvbuf tcpsndbuf timetruncate tinyint1isbit \
    tlsciphersuites tlsversions transactionisolation transformedbitisboolean treattinyasboolean \
    treatutildateastimestamp trustservercertificate useaffectedrows usebulkstmts usecompression usecursorfetch \
    useinformationschema usejdbccomplianttimezoneshift uselegacydatetimecode uselocalsessionstate \
    uselocaltransactionstate usemysqlmetadata useoldaliasmetadatabehavior usepipelineauth usepure useserverprepstmts \
    usetimezone useunicode usexatransactions verifyservercertificate waitforconnections yearisdatetype \
    zerodatetimebehavior zstdcompressionlevel";

const MONGODB: &str = "\
    authmechanism authsource compressors connect connecttimeoutms directconnection fsync heartbeatfrequencyms j \
    journal loadbalanced localthresholdms maxconnecting maxidletimems maxstalenessseconds readconcernlevel \
    readpreference readpreferencetags replicaset retryreads retrywrites safe servermonitoringmode \
    serverselectiontimeoutms serverselectiontryonce slaveok sockettimeoutms srvmaxhosts sslallowinvalidcertificates \
    sslallowinvalidhostnames sslcertificateauthorityfile sslclientcertificatekeyfile sslclientcertificatekeypassword \
    sslinsecure sslinvalidhostnameallowed sslmatchhostname sslvalidate timeoutms tlsallowinvalidcertificates \
    tlsallowinvalidhostnames tlscafile tlscertificatekeyfile tlscertificatekeyfilepassword \
    tlsdisablecertificaterevocationcheck tlsdisableocspendpointcheck tlsinsecure tzaware usenewurlparser \
    useunifiedtopology uuidrepresentation w waitqueuetimeoutms wtimeout wtimeoutms zlibcompressionlevel";

const REDIS: &str = "\
    commandtimeout enableofflinequeue enablereadycheck encodingerrors family keyprefix lazy lazyconnect maxactiveconns \
    maxredirects maxretriesperrequest maxretrybackoff minretrybackoff persistent poolfifo prefix protocol readonly \
    readwritetimeout retryinterval retryontimeout routebylatency routerandomly sslcapath verifypeer";

const AMQP: &str = "\
    authmechanism backpressuredetection blockedconnectiontimeout cacertfile cafile capath certfile channelmax \
    connectionattempts failfast failifnopeercert framemax heartbeat keyfile locale noverifyssl reconnectinterval \
    retrydelay stacktimeout verify verifypeer";

const SQLSERVER: &str = "\
    applicationintent calcbigdecimalprecision cancelquerytimeout commandtimeout connectretrycount connectretryinterval \
    currentlanguage datetimeparametertype delayloadinglobs disablestatementpooling fips guidconversion \
    hostnameincertificate ipaddresspreference lastupdatecount locktimeout maxresultbuffer multipleactiveresultsets \
    multisubnetfailover packetsize poolblockingperiod preparemethod querytimeout responsebuffering selectmethod \
    sendstringparametersasunicode sendtimeasdatetime sslprotocol statementpoolingcachesize tdsversion tlsmin \
    transactionbinding transparentnetworkipresolution trustservercertificate typesystemversion \
    usebulkcopyforbatchinsert usefmtonly workstationid";

const CLICKHOUSE: &str = "\
    asyncinsert blockbuffersize cacerts compression compresslevel connectionopenstrategy maxblocksize \
    maxcompressionbuffer maxexecutiontime secure sendreceivetimeout verify waitforasyncinsert";

const ORACLE: &str = "expiretime retrycount retrydelay sdu sslserverdnmatch transportconnecttimeout";

/// Every list, in the order of the page for users.
pub(crate) const LISTS: [&str; 9] =
    [COMMON, POSTGRESQL, MYSQL, MONGODB, REDIS, AMQP, SQLSERVER, CLICKHOUSE, ORACLE];

/// Whether the clients of any engine have this option.
pub(crate) fn is_known(name: &str) -> bool {
    LISTS.into_iter().flat_map(|list| list.split(' ')).any(|known| is_same(name, known))
}

/// Whether a source may set this option for the clients of an engine. Clients spell one name in several ways (`ssl-ca`,
/// `ssl_ca`, `sslCA`), so spellings are not distinguished.
pub(crate) fn is_allowed(engine: Engine, name: &str, value: &str) -> bool {
    let own = match engine {
        Engine::Postgresql => POSTGRESQL,
        Engine::Mysql | Engine::Mariadb => MYSQL,
        Engine::Mongodb | Engine::MongodbSrv => MONGODB,
        Engine::Redis | Engine::Rediss => REDIS,
        Engine::Amqp | Engine::Amqps => AMQP,
        Engine::Sqlserver => SQLSERVER,
        Engine::Clickhouse => CLICKHOUSE,
        Engine::Oracle => ORACLE,
        Engine::Cassandra => "",
    };
    // libpq loads the OpenSSL engine that precedes a colon.
    let loads_engine = value.contains(':') && is_same(name, "sslkey");
    !loads_engine
        && [COMMON, own].into_iter().flat_map(|list| list.split(' ')).any(|known| is_same(name, known))
}

/// Whether two names mean one option to some client.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    spelling(one).eq(spelling(other))
}

/// A name without what clients ignore: the case, and `-`, `_` and spaces.
fn spelling(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|b| !matches!(b, b'-' | b'_' | b' ')).map(|b| b.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_for_users_has_the_same_lists() {
        let page = include_str!("../../docs/formats/options.md");
        let (_, sections) = page.split_once("## All engines").unwrap();
        let documented: Vec<BTreeSet<_>> = sections
            .split("\n## ")
            .map(|section| {
                section
                    .lines()
                    .skip(1)
                    .flat_map(|line| line.split(['`', ' ']))
                    .filter(|word| !word.is_empty())
            })
            .map(Iterator::collect)
            .collect();
        assert_eq!(documented, LISTS.map(|list| list.split(' ').collect::<BTreeSet<_>>()));
    }

    /// The clients of MySQL and MariaDB accept a unique prefix.
    #[test]
    fn no_accepted_option_is_a_prefix_of_one_that_redirects_or_loads_code() {
        let denied = [
            "host",
            "user",
            "password",
            "port",
            "socket",
            "protocol",
            "database",
            "plugindir",
            "defaultauth",
            "initcommand",
            "pager",
            "tee",
            "execute",
            "localinfile",
            "loaddatalocaldir",
            "dnssrvname",
        ];
        for name in [COMMON, MYSQL].into_iter().flat_map(|list| list.split(' ')) {
            assert!(!denied.iter().any(|denied| denied.starts_with(name)), "{name}");
        }
    }
}
