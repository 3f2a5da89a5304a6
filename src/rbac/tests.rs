use std::collections::BTreeMap;

use super::*;
use crate::annotations::ReferenceScope;
use crate::manifest::Manifest;
use crate::object::Namespace;

fn defaults(namespace: Namespace) -> Defaults {
    let scope = ReferenceScope::local(namespace);
    Defaults { scope, any_cluster: true, prefix: "podcreds.io".to_owned(), usage: Usage::SIDECAR }
}

fn workloads(text: &str, defaults: &Defaults) -> Result<Vec<Workload>, String> {
    let manifest = Manifest::parse("app.yaml", text.to_owned()).unwrap();
    let (mut workloads, mut problems) = (Vec::new(), Vec::new());
    for template in manifest.objects().iter().filter_map(|object| object.template()) {
        match Workload::from_template(&template, defaults) {
            Ok(workload) => workloads.extend(workload),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(workloads) } else { Err(Problems(problems).to_string()) }
}

/// The Roles for manifests in the namespace of the command.
fn printed(text: &str) -> String {
    documents(&roles(&workloads(text, &defaults(Namespace::unspecified())).unwrap()))
}

/// One line for each rule of each Role.
fn rules(text: &str) -> Vec<String> {
    let workloads = workloads(text, &defaults(Namespace::unspecified())).unwrap();
    let mut lines = Vec::new();
    for role in roles(&workloads) {
        for Rule { kind, verbs, objects } in role.rules() {
            let names: Vec<_> = objects.iter().map(|object| object.name.clone().unwrap()).collect();
            let place = format!("{}:{} {}", role.namespace, role.account, kind.resource());
            lines.push(format!("{place} {} {}", names.join(","), verbs.join(",")));
        }
    }
    lines
}

/// A pod template in flow style.
fn pod(annotations: &str, args: &str, account: &str) -> String {
    format!(
        "metadata: {{annotations: {{{annotations}}}}}, spec: {{serviceAccountName: {account}, initContainers: [{{name: podcreds, args: [{args}]}}]}}"
    )
}

fn deployment(name: &str, pod: &str) -> String {
    format!(
        "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{template: {{{pod}}}}}}}\n"
    )
}

#[test]
fn a_role_names_the_annotation_that_needs_each_object() {
    let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: shop}
spec:
  template:
    metadata:
      annotations:
        podcreds.io/db.secret: orders-db
        podcreds.io/db.service: on
        podcreds.io/app.template-from: templates/app.conf
        podcreds.io/cache.secret: '1'
        podcreds.io/ca.configmap: infra/ca
    spec:
      serviceAccountName: app
      initContainers:
        - name: podcreds
          restartPolicy: Always
          args: [sidecar, --events]
";
    let manifest = manifest.replace("service: on", "service: 'on'").replace(
        "app.template-from: templates/app.conf",
        "app.template: '{{ credentials.db.password }}{{ credentials.ca.bundle }}'",
    );
    let expected = r#"# Permissions of ServiceAccount shop/app for Deployment/app
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: shop:app-podcreds
  namespace: infra
  labels:
    app.kubernetes.io/name: podcreds
    app.kubernetes.io/component: rbac
rules:
  - apiGroups: [""]
    resources: [configmaps]
    resourceNames:
      - ca # podcreds.io/ca.configmap of Deployment/app
    verbs: [get, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: shop:app-podcreds
  namespace: infra
  labels:
    app.kubernetes.io/name: podcreds
    app.kubernetes.io/component: rbac
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: shop:app-podcreds
subjects:
  - kind: ServiceAccount
    name: app
    namespace: shop
---
# Permissions of ServiceAccount shop/app for Deployment/app
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: app-podcreds
  namespace: shop
  labels:
    app.kubernetes.io/name: podcreds
    app.kubernetes.io/component: rbac
rules:
  - apiGroups: [""]
    resources: [secrets]
    resourceNames:
      - "1" # podcreds.io/cache.secret of Deployment/app
      - orders-db # podcreds.io/db.secret of Deployment/app
    verbs: [get, watch]
  - apiGroups: [""]
    resources: [services]
    resourceNames:
      - "on" # podcreds.io/db.service of Deployment/app
    verbs: [get, watch]
  # To read the pod's own annotations. Without resourceNames, because the names of the pods are generated.
  - apiGroups: [""]
    resources: [pods]
    verbs: [get]
  # For --events.
  - apiGroups: [""]
    resources: [events]
    verbs: [create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: app-podcreds
  namespace: shop
  labels:
    app.kubernetes.io/name: podcreds
    app.kubernetes.io/component: rbac
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: app-podcreds
subjects:
  - kind: ServiceAccount
    name: app
    namespace: shop
"#;
    assert_eq!(printed(&manifest), expected);
}

#[test]
fn manifests_without_a_namespace_give_roles_without_one() {
    let text = printed(&deployment("app", &pod("podcreds.io/db.secret: db", "init", "app")));
    assert!(!text.contains("namespace"), "{text}");
    assert!(text.contains("\nsubjects:\n  - kind: ServiceAccount\n    name: app\n"), "{text}");
}

#[test]
fn workloads_of_one_account_share_a_role_with_the_union() {
    let once = deployment("once", &pod("podcreds.io/db.secret: db, podcreds.io/x.secret: b", "init", "app"));
    let kept =
        deployment("kept", &pod("podcreds.io/db.secret: db, podcreds.io/y.secret: a", "sidecar", "app"));
    let other = deployment("other", &pod("podcreds.io/db.secret: db", "init, --annotations-file, /a", "job"));
    let expected =
        [":app secrets b get", ":app secrets a,db get,watch", ":app pods  get", ":job secrets db get"];
    assert_eq!(rules(&format!("{once}{kept}{other}")), expected);
    // The order of the manifests changes nothing.
    assert_eq!(rules(&format!("{other}{kept}{once}")), expected);
}

#[test]
fn accounts_of_several_namespaces_get_a_role_each() {
    let manifest = |namespace: &str| {
        let text = deployment("app", &pod("podcreds.io/db.secret: infra/db", "init", "app"));
        text.replace("metadata: {name: app}", &format!("metadata: {{name: app, namespace: {namespace}}}"))
    };
    let text = printed(&format!("{}{}{}", manifest("shop"), manifest("web"), manifest("infra")));
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  name: ")).collect();
    let infra = ["app-podcreds", "shop:app-podcreds", "web:app-podcreds"];
    // Each is the name of a Role, of a RoleBinding and in its roleRef.
    let expected: Vec<_> = [&infra[..], &["app-podcreds"], &["app-podcreds"]]
        .concat()
        .into_iter()
        .flat_map(|name| [name; 3])
        .collect();
    assert_eq!(names, expected, "{text}");
}

#[test]
fn a_pod_with_a_name_needs_only_itself() {
    let bare = |name: &str, args: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, {}}}\n",
            pod("podcreds.io/db.secret: db", args, "app").replacen(
                "metadata: {",
                &format!("metadata: {{{name}, "),
                1
            )
        )
    };
    assert_eq!(rules(&bare("name: app-0", "init")), [":app secrets db get", ":app pods app-0 get"]);
    assert_eq!(rules(&bare("generateName: app-", "init")), [":app secrets db get", ":app pods  get"]);
    let follows = bare("name: app-0", "sidecar, --follow-annotations");
    let deployment = deployment("app", &pod("podcreds.io/db.secret: db", "init", "app"));
    assert_eq!(
        rules(&format!("{follows}{deployment}")),
        [":app secrets db get,watch", ":app pods  get", ":app pods app-0 get,watch"]
    );
    // What all pods may, one of them need not be granted.
    assert_eq!(
        rules(&format!("{}{deployment}", bare("name: app-0", "init"))),
        [":app secrets db get", ":app pods  get"]
    );
}

#[test]
fn a_template_without_podcreds_gets_the_rights_of_the_container_that_is_injected() {
    let plain = |annotations: &str| {
        deployment(
            "app",
            &format!("metadata: {{annotations: {{{annotations}}}}}, spec: {{containers: [{{name: app}}]}}"),
        )
    };
    let sidecar = [":default secrets db get,watch", ":default pods  get"];
    let init = [":default secrets db get", ":default pods  get"];
    assert_eq!(rules(&plain("podcreds.io/db.secret: db")), sidecar);
    assert_eq!(rules(&plain("podcreds.io/db.secret: db, inject.podcreds.io/mode: init")), init);
    let defaults = Defaults { usage: Usage::INIT, ..defaults(Namespace::unspecified()) };
    let verbs = |text: &str| workloads(text, &defaults).unwrap()[0].needs[1].0.verbs;
    assert_eq!(verbs(&plain("podcreds.io/db.secret: db")), ["get"]);
    let native = plain("podcreds.io/db.secret: db, inject.podcreds.io/mode: native-sidecar");
    assert_eq!(verbs(&native), ["get", "watch"]);
}

#[test]
fn sources_in_another_cluster_are_roles_of_that_cluster() {
    let annotations = "podcreds.io/db.secret: db, podcreds.io/far.secret: far, podcreds.io/far.cluster: hub, podcreds.io/far.template-from: t/x";
    let text = deployment("app", &pod(annotations, "init", "app"));
    let roles = roles(&workloads(&text, &defaults(Namespace::parse("shop").unwrap())).unwrap());
    let shown: Vec<_> =
        roles.iter().map(|role| (role.cluster.id().map(ToString::to_string), role.rules().len())).collect();
    // The template and the pod are in the pod's own cluster.
    assert_eq!(shown, [(None, 3), (Some("hub".to_owned()), 1)]);
    let text = documents(&roles[1..]);
    assert!(text.contains("name: shop:app-podcreds"), "{text}");
    assert!(text.contains("If the clusters file authenticates to hub as another one, replace it."), "{text}");
}

#[test]
fn all_problems_are_reported_with_their_positions() {
    let text = "
apiVersion: v1
kind: Pod
metadata:
  annotations:
    podcreds.io/db.optional: true
    podcreds.io/db.secret: db
    other: 1
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        podcreds.io/db.secert: db
    spec:
      serviceAccountName: a b
---
{apiVersion: v1, kind: Pod, metadata: {namespace: A, annotations: {podcreds.io/db.secret: db}}}
";
    let problems = workloads(text, &defaults(Namespace::unspecified())).unwrap_err();
    let starts: Vec<_> = problems.lines().map(str::trim).collect();
    for (line, start) in starts.iter().zip([
        "app.yaml:6:5: annotation podcreds.io/db.optional is true or false, and the API server accepts only text",
        "app.yaml:18:7: serviceAccountName: \"a b\" is not the name of a ServiceAccount",
        "app.yaml:16:9: invalid annotation: podcreds.io/db.secert: ",
        "app.yaml:20:1: metadata.namespace: invalid namespace",
    ]) {
        assert!(line.starts_with(start), "{line}\n{problems}");
    }
    assert_eq!(starts.len(), 4, "{problems}");
}

#[test]
fn names_of_objects_cannot_end_a_comment() {
    let text = deployment("\"a\\nb: c\\u2028d\"", &pod("podcreds.io/db.secret: db", "init", "app"));
    let text = printed(&text);
    assert!(
        text.starts_with("# Permissions of ServiceAccount app for Deployment/a b: c d\napiVersion"),
        "{text}"
    );
}

/// Of which needs the manifests show that they are granted or not.
fn granted(manifests: &str) -> Vec<Option<bool>> {
    let namespace = Namespace::parse("shop").unwrap();
    let text = deployment(
        "app",
        &pod("podcreds.io/db.secret: db, podcreds.io/far.secret: infra/far", "sidecar", "app"),
    );
    let manifest = Manifest::parse("app.yaml", format!("{text}---\n{manifests}")).unwrap();
    let template = manifest.objects()[0].template().unwrap();
    let workload = Workload::from_template(&template, &defaults(namespace.clone())).unwrap().unwrap();
    let grants = Grants::new(manifest.objects().into_iter(), &namespace);
    let allow = |(need, _): &(Need, String)| {
        need.verbs.iter().map(|verb| grants.allow(&workload.account, need, verb)).collect::<Vec<_>>()
    };
    workload.needs.iter().flat_map(allow).collect()
}

#[test]
fn the_printed_roles_grant_every_need() {
    let text = deployment(
        "app",
        &pod("podcreds.io/db.secret: db, podcreds.io/far.secret: infra/far", "sidecar", "app"),
    );
    let workloads = workloads(&text, &defaults(Namespace::parse("shop").unwrap())).unwrap();
    assert_eq!(granted(&documents(&roles(&workloads))), [Some(true); 5]);
}

#[test]
fn what_roles_and_bindings_grant_depends_on_subject_namespace_verb_and_name() {
    let role = |kind: &str, rule: &str| {
        format!(
            "---\n{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, metadata: {{name: r}}, rules: [{rule}]}}\n"
        )
    };
    let binding = |kind: &str, of: &str, subject: &str| {
        format!(
            "---\n{{apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, metadata: {{name: b}}, roleRef: {{kind: {of}, name: r}}, subjects: [{subject}]}}\n"
        )
    };
    let account = "{kind: ServiceAccount, name: app}";
    let secrets = "{apiGroups: [''], resources: [secrets], resourceNames: [db], verbs: [get]}";
    // Needs: the pod, the Secret db (get, watch), the Secret far in another namespace (get, watch).
    let none = [None; 5];
    let some = |granted: [bool; 3]| {
        let [pod, get, watch] = granted.map(Some);
        vec![pod, get, watch, None, None]
    };
    assert_eq!(granted(""), none);
    assert_eq!(granted(&role("Role", secrets)), none);
    let bound = |subject: &str| granted(&(role("Role", secrets) + &binding("RoleBinding", "Role", subject)));
    assert_eq!(bound(account), some([false, true, false]));
    let other_name =
        role("Role", &secrets.replace("[db]", "[cache]")) + &binding("RoleBinding", "Role", account);
    assert_eq!(granted(&other_name), some([false, false, false]));
    assert_eq!(bound("{kind: ServiceAccount, name: app, namespace: web}"), none);
    assert_eq!(bound("{kind: ServiceAccount, name: other}"), none);
    assert_eq!(bound("{kind: User, name: 'system:serviceaccount:shop:app'}"), some([false, true, false]));
    assert_eq!(bound("{kind: Group, name: 'system:serviceaccounts:shop'}"), some([false, true, false]));
    assert_eq!(bound("{kind: Group, name: 'system:serviceaccounts:web'}"), none);
    // A Role that the manifests do not have.
    assert_eq!(granted(&binding("RoleBinding", "ClusterRole", account)), none);
    let all = "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}";
    let everywhere = role("ClusterRole", all)
        + &binding("ClusterRoleBinding", "ClusterRole", "{kind: ServiceAccount, name: app, namespace: shop}");
    assert_eq!(granted(&everywhere), [Some(true); 5]);
    let here = role("ClusterRole", all) + &binding("RoleBinding", "ClusterRole", account);
    assert_eq!(granted(&here), some([true, true, true]));
}

#[test]
fn a_reason_is_shown_once() {
    let one =
        deployment("app", &pod("podcreds.io/db.secret: db, podcreds.io/also.secret: db", "init", "app"));
    let text = printed(&format!("{one}{one}"));
    assert!(text.contains("- db # podcreds.io/also.secret of Deployment/app\n"), "{text}");
    let many: Vec<_> = (0..5)
        .map(|number| deployment(&format!("app-{number}"), &pod("podcreds.io/db.secret: db", "init", "app")))
        .collect();
    let text = printed(&many.concat());
    assert!(text.contains("for Deployment/app-0, Deployment/app-1, Deployment/app-2 and 2 more\n"), "{text}");
}

#[test]
fn live_pods_have_no_position() {
    let annotations = BTreeMap::from([("podcreds.io/db.secret".to_owned(), "db".to_owned())]);
    let namespace = Namespace::parse("shop").unwrap();
    let source = PodSource {
        name: "Deployment/app",
        namespace: namespace.clone(),
        service_account: "app",
        pod: None,
        usage: None,
        annotations: &annotations,
    };
    let workload = Workload::new(&source, &defaults(namespace)).unwrap();
    let needs: Vec<_> =
        workload.needs.iter().map(|(need, reason)| (need.verbs.len(), reason.as_str())).collect();
    assert_eq!(needs, [(1, ""), (2, "podcreds.io/db.secret")]);
}
