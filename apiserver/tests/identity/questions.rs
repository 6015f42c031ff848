//! Ten thousand questions about rights, each answered by the server as RBAC's rules say.
//!
//! Roles, bindings and questions are made up from a seed, which is printed; `SKIFF_SEED` asks the same again. What the
//! rules say is worked out here over the JSON of the objects, in the plainest way and without a line of the server's.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_apiserver::authentication::UserInfo;
use skiff_apiserver::authorization::{Attributes, Decision};
use skiff_fixture::Api;

const QUESTIONS: usize = 10_000;
/// Of so many, one is asked as a SubjectAccessReview, too.
const REVIEWED: usize = 25;
const GROUP: &str = "rbac.authorization.k8s.io";
const ROOT: &str = "/apis/rbac.authorization.k8s.io/v1";

const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "use", "impersonate"];
const GROUPS: &[&str] = &["", "apps", "batch", "example.com"];
const RESOURCES: &[&str] = &["pods", "secrets", "deployments", "jobs", "widgets"];
const SUBRESOURCES: &[&str] = &["", "", "", "log", "scale", "status"];
const NAMES: &[&str] = &["", "a", "b", "c"];
const NAMESPACES: &[&str] = &["", "n1", "n2", "n3"];
const PATHS: &[&str] = &["/healthz", "/healthz/etcd", "/metrics", "/apis", "/apis/x/v1", "/a/b", "/"];
const PATTERNS: &[&str] = &["/healthz", "/healthz/*", "/apis*", "*", "/a/*", "/metrics", "/me*"];
const USERS: &[&str] = &["ann", "bob", "cat", "dan", "system:serviceaccount:n1:web", "system:serviceaccount:n2:web"];
const TEAMS: &[&str] = &["devs", "ops", "qa", "system:serviceaccounts:n1", "system:authenticated"];

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below the limit")
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// One to three of a list, at times everything.
    fn some(&mut self, list: &[&str]) -> Vec<String> {
        if self.below(8) == 0 {
            return vec!["*".into()];
        }
        (0..=self.below(3)).map(|_| self.one(list).to_owned()).collect()
    }
}

fn rule(random: &mut Random, cluster: bool) -> Value {
    if cluster && random.below(4) == 0 {
        let urls = (0..=random.below(2)).map(|_| random.one(PATTERNS)).collect::<Vec<_>>();
        return json!({"verbs": random.some(VERBS), "nonResourceURLs": urls});
    }
    let mut resources = random.some(RESOURCES);
    for resource in &mut resources {
        let subresource = random.one(SUBRESOURCES);
        match random.below(6) {
            0 => *resource = format!("*/{}", random.one(&["scale", "status", "log"])),
            _ if !subresource.is_empty() => *resource = format!("{resource}/{subresource}"),
            _ => {}
        }
    }
    let mut rule = json!({"verbs": random.some(VERBS), "apiGroups": random.some(GROUPS), "resources": resources});
    if random.below(3) == 0 {
        rule["resourceNames"] = json!((0..=random.below(2)).map(|_| random.one(&NAMES[1..])).collect::<Vec<_>>());
    }
    rule
}

fn subject(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({"kind": "Group", "apiGroup": GROUP, "name": random.one(TEAMS)}),
        1 => json!({"kind": "ServiceAccount", "name": "web", "namespace": random.one(&NAMESPACES[1..])}),
        _ => json!({"kind": "User", "apiGroup": GROUP, "name": random.one(USERS)}),
    }
}

async fn make_up(api: &Api, random: &mut Random) {
    let make = |path: String, object: Value| async move { drop(api.post(&path, object).await.expect(201)) };
    for namespace in &NAMESPACES[1..] {
        make("/api/v1/namespaces".into(), json!({"metadata": {"name": namespace}})).await;
    }
    for number in 0..24 {
        let rules =
            |random: &mut Random, cluster| (0..=random.below(3)).map(|_| rule(random, cluster)).collect::<Vec<_>>();
        let name = format!("r{number}");
        let role = json!({"metadata": {"name": name}, "rules": rules(random, true)});
        make(format!("{ROOT}/clusterroles"), role).await;
        let namespace = random.one(&NAMESPACES[1..]);
        let role = json!({"metadata": {"name": name}, "rules": rules(random, false)});
        make(format!("{ROOT}/namespaces/{namespace}/roles"), role).await;
    }
    for number in 0..80 {
        let name = format!("b{number}");
        // Some lead to roles that are not there.
        let role = format!("r{}", random.below(26));
        let subjects = (0..=random.below(3)).map(|_| subject(random)).collect::<Vec<_>>();
        let of = |kind: &str| json!({"metadata": {"name": name}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}, "subjects": subjects});
        if random.below(4) == 0 {
            make(format!("{ROOT}/clusterrolebindings"), of("ClusterRole")).await;
        } else {
            let namespace = random.one(&NAMESPACES[1..]);
            let kind = random.one(&["Role", "ClusterRole"]);
            make(format!("{ROOT}/namespaces/{namespace}/rolebindings"), of(kind)).await;
        }
    }
}

/// All roles and bindings there are, as JSON.
struct Rules {
    cluster_roles: Vec<Value>,
    roles: Vec<Value>,
    cluster_bindings: Vec<Value>,
    bindings: Vec<Value>,
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().into_iter().flatten().any(|one| one == wanted)
}

impl Rules {
    async fn read(api: &Api) -> Self {
        let list = |resource: &'static str| async move {
            let list = api.get(&format!("{ROOT}/{resource}")).await.expect(200).json();
            list["items"].as_array().expect("items").clone()
        };
        Self {
            cluster_roles: list("clusterroles").await,
            roles: list("roles").await,
            cluster_bindings: list("clusterrolebindings").await,
            bindings: list("rolebindings").await,
        }
    }

    fn allow(&self, asked: &Attributes) -> bool {
        let in_namespace = self.bindings.iter().filter(|binding| {
            !asked.namespace.is_empty() && binding["metadata"]["namespace"] == asked.namespace.as_str()
        });
        self.cluster_bindings.iter().chain(in_namespace).any(|binding| {
            let namespace = binding["metadata"]["namespace"].as_str().unwrap_or("");
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            let concerns = subjects.into_iter().any(|subject| {
                let name = subject["name"].as_str().unwrap_or("");
                match subject["kind"].as_str() {
                    Some("User") => asked.user.name == name,
                    Some("Group") => asked.user.groups.iter().any(|group| group == name),
                    _ => {
                        let own = subject["namespace"].as_str().unwrap_or("");
                        asked.user.name == format!("system:serviceaccount:{own}:{name}")
                    }
                }
            });
            concerns && self.rules_of(binding, namespace).iter().any(|rule| allows(rule, asked))
        })
    }

    fn rules_of(&self, binding: &Value, namespace: &str) -> Vec<Value> {
        let name = &binding["roleRef"]["name"];
        let role = if binding["roleRef"]["kind"] == "ClusterRole" {
            self.cluster_roles.iter().find(|role| role["metadata"]["name"] == *name)
        } else {
            let own = |role: &&Value| role["metadata"]["name"] == *name && role["metadata"]["namespace"] == namespace;
            self.roles.iter().find(own)
        };
        role.and_then(|role| role["rules"].as_array()).cloned().unwrap_or_default()
    }
}

fn allows(rule: &Value, asked: &Attributes) -> bool {
    let either = |field: &str, wanted: &str| has(&rule[field], "*") || has(&rule[field], wanted);
    if !either("verbs", &asked.verb) {
        return false;
    }
    if !asked.is_resource_request {
        return rule["nonResourceURLs"].as_array().into_iter().flatten().any(|pattern| {
            let pattern = pattern.as_str().unwrap_or("");
            match pattern.strip_suffix('*') {
                Some(beginning) => asked.path.starts_with(beginning),
                None => asked.path == pattern,
            }
        });
    }
    let full = match asked.subresource.as_str() {
        "" => asked.resource.clone(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let any_resource = !asked.subresource.is_empty() && has(&rule["resources"], &format!("*/{}", asked.subresource));
    let named = rule["resourceNames"].as_array().is_none_or(Vec::is_empty) || has(&rule["resourceNames"], &asked.name);
    either("apiGroups", &asked.api_group) && (either("resources", &full) || any_resource) && named
}

fn question(random: &mut Random) -> Attributes {
    let groups = (0..random.below(3)).map(|_| random.one(TEAMS).to_owned()).collect();
    let user = Arc::new(UserInfo { name: random.one(USERS).into(), groups, ..UserInfo::default() });
    let verb = random.one(VERBS).to_owned();
    if random.below(5) == 0 {
        return Attributes { user, verb, path: random.one(PATHS).into(), ..Attributes::default() };
    }
    Attributes {
        user,
        verb,
        is_resource_request: true,
        api_group: random.one(GROUPS).into(),
        api_version: "*".into(),
        resource: random.one(RESOURCES).into(),
        subresource: random.one(SUBRESOURCES).into(),
        namespace: random.one(NAMESPACES).into(),
        name: random.one(NAMES).into(),
        ..Attributes::default()
    }
}

/// The same question as a SubjectAccessReview.
fn review(asked: &Attributes) -> Value {
    let mut spec = json!({"user": asked.user.name, "groups": asked.user.groups});
    if asked.is_resource_request {
        spec["resourceAttributes"] = json!({
            "verb": asked.verb, "group": asked.api_group, "resource": asked.resource, "name": asked.name,
            "subresource": asked.subresource, "namespace": asked.namespace
        });
    } else {
        spec["nonResourceAttributes"] = json!({"verb": asked.verb, "path": asked.path});
    }
    json!({"spec": spec})
}

#[tokio::test]
async fn ten_thousand_questions_get_the_answers_of_the_rules() {
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("SKIFF_SEED={seed}");
    let mut random = Random(seed);
    let api = Api::secured().await;
    make_up(&api, &mut random).await;
    let rules = Rules::read(&api).await;
    // What the caches have not seen yet the server does not go by.
    let last = &rules.bindings.last().expect("bindings")["metadata"];
    let path = |name: &Value| {
        format!(
            "{ROOT}/namespaces/{}/rolebindings?resourceVersion={}",
            last["namespace"].as_str().unwrap_or(""),
            name.as_str().unwrap_or("")
        )
    };
    api.get(&path(&last["resourceVersion"])).await.expect(200);
    let mut allowed = 0;
    for number in 0..QUESTIONS {
        let asked = question(&mut random);
        let expected = rules.allow(&asked);
        let decision = api.server().authorizer.authorize(&asked);
        assert_eq!(
            matches!(decision, Decision::Allow(_)),
            expected,
            "seed {seed}, question {number}: {asked:?}: {decision:?}"
        );
        assert!(!matches!(decision, Decision::Deny(_)), "RBAC has no opinion on what it does not allow");
        allowed += usize::from(expected);
        if number % REVIEWED == 0 {
            let answer =
                api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review(&asked)).await.expect(201);
            assert_eq!(answer.json()["status"]["allowed"], expected, "seed {seed}, question {number}: {asked:?}");
        }
    }
    println!("{QUESTIONS} questions, {allowed} allowed");
    assert!(
        (QUESTIONS / 100..QUESTIONS / 10 * 9).contains(&allowed),
        "seed {seed}: {allowed} allowed, which tests little"
    );
}
