//! Policies and what they say of one request.

use std::sync::Arc;

use skiff_apimachinery::value;
use skiff_apimachinery::value::Value;

use super::{mutating, validating};
use crate::admission::Operation;
use crate::admission::expressions::{Context, Variables};
use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer, Decision, RulesReview};

/// Lets nobody do anything.
struct Nobody;

impl Authorizer for Nobody {
    fn authorize(&self, _attributes: &Attributes) -> Decision {
        Decision::NoOpinion(String::new())
    }

    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RulesReview {
        RulesReview::default()
    }
}

fn with_context<T>(object: &Value, look: impl FnOnce(&Context<'_>) -> T) -> T {
    let (user, options) = (Arc::new(UserInfo { name: "alice".into(), ..UserInfo::default() }), Value::Null);
    look(&Context {
        operation: Operation::Create,
        kind: ("apps", "v1", "Deployment"),
        resource: ("apps", "v1", "deployments"),
        request_kind: ("apps", "v1", "Deployment"),
        request_resource: ("apps", "v1", "deployments"),
        subresource: "",
        name: "a",
        namespace: "demo",
        user: &user,
        dry_run: false,
        options: &options,
        object: Some(object),
        old_object: None,
        authorizer: &Nobody,
    })
}

/// What a policy has against an object, with parameters.
fn decided(spec: Value, object: Value, params: Option<Value>) -> Vec<(String, String)> {
    let policy = value!({"metadata": {"name": "p"}, "spec": (spec)});
    let policy = validating::policy::Policy::parse(&policy).expect("a spec");
    let namespace = value!({"metadata": {"name": "demo", "labels": {"team": "a"}}});
    let decisions = with_context(&object, |context| policy.decide(context, Some(&namespace), params.as_ref()));
    decisions.decisions.into_iter().map(|decision| (decision.reason, decision.message)).collect()
}

#[test]
fn validations_say_why_not() {
    let object = || value!({"spec": {"replicas": 5}});
    for (spec, want) in [
        (value!({"validations": [{"expression": "object.spec.replicas > 3"}]}), None),
        (
            value!({"validations": [{"expression": " object.spec.replicas < 3"}]}),
            Some(("", "failed expression: object.spec.replicas < 3")),
        ),
        (
            value!({"validations": [{"expression": "false", "message": "no", "reason": "Forbidden"}]}),
            Some(("Forbidden", "no")),
        ),
        (
            value!({"variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "m", "expression": "variables.n * 2"}],
                "validations": [{"expression": "variables.m != 10", "message": "a",
                    "messageExpression": "'%d in %s'.format([variables.m, namespaceObject.metadata.labels.team])"}]}),
            Some(("", "10 in a")),
        ),
        (
            value!({"validations": [{"expression": "false", "message": "fallback", "messageExpression": "object.spec.nope"}]}),
            Some(("", "fallback")),
        ),
        (
            value!({"validations": [{"expression": "object.spec.nope == 1"}]}),
            Some(("", "expression 'object.spec.nope == 1' resulted in error: no such key: nope")),
        ),
        (value!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.nope == 1"}]}), None),
        (
            value!({"matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'alice'"}],
                "validations": [{"expression": "false"}]}),
            None,
        ),
        (
            value!({"variables": [{"name": "x", "expression": "object.nope"}], "validations": [{"expression": "variables.x == 1"}]}),
            Some((
                "",
                "expression 'variables.x == 1' resulted in error: composited variable \"x\" fails to evaluate: no such key: nope",
            )),
        ),
    ] {
        let found = decided(spec.clone(), object(), None);
        let found = found.iter().map(|(reason, message)| (reason.as_str(), message.as_str())).next();
        assert_eq!(found, want, "{spec:?}");
    }
}

#[test]
fn parameters_are_spoken_of() {
    let spec = || {
        value!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [
            {"expression": "object.spec.replicas <= int(params.data.max)", "messageExpression": "'max ' + params.data.max"}
        ]})
    };
    let params = |max: &str| Some(value!({"data": {"max": max}}));
    assert!(decided(spec(), value!({"spec": {"replicas": 5}}), params("5")).is_empty());
    let found = decided(spec(), value!({"spec": {"replicas": 5}}), params("4"));
    assert_eq!(found, [(String::new(), "max 4".to_owned())]);
}

/// What a policy's first mutation makes of a Deployment.
fn mutated(mutation: Value) -> Result<Value, String> {
    let policy = value!({"metadata": {"name": "p"}, "spec": {
        "variables": [{"name": "team", "expression": "'blue'"}], "mutations": [(mutation)]
    }});
    let policy = mutating::policy::Policy::parse(&policy).expect("a spec");
    let object = value!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i", "args": ["a"]}]}}}
    });
    let schema = skiff_api::builtin().schema_of("apps", "v1", "Deployment").expect("deployments are known");
    with_context(&object, |context| {
        policy.mutate(&policy.mutations[0], &object, schema, &Variables::new(context, None, None))
    })
}

#[test]
fn configurations_are_merged() {
    let apply =
        |text: &str| mutated(value!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}));
    let made = apply(
        "Object{metadata: Object.metadata{labels: {'team': variables.team}}, spec: Object.spec{
            replicas: object.spec.replicas + 1, template: Object.spec.template{spec: Object.spec.template.spec{
                containers: [Object.spec.template.spec.containers{name: 'd', image: 'j'}]}}}}",
    )
    .expect("it merges");
    assert_eq!(made.at(&["metadata", "labels"]), Some(&value!({"x": "y", "team": "blue"})));
    assert_eq!(made.i64_at(&["spec", "replicas"]), Some(2));
    let names = made.array_at(&["spec", "template", "spec", "containers"]);
    assert_eq!(names.iter().filter_map(|c| c.str_at(&["name"])).collect::<Vec<_>>(), ["c", "d"]);
    let atomic = apply(
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
            containers: [Object.spec.template.spec.containers{name: 'c', args: ['b']}]}}}}",
    );
    let why = "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args";
    assert_eq!(atomic, Err(why.to_owned()));
    let misnamed = apply("Object{spec: Object.status{}}").expect_err("a wrong name");
    assert!(misnamed.starts_with("type mismatch: unexpected type name \"Object.status\""), "{misnamed}");
}

#[test]
fn operations_are_applied() {
    let patch = |text: &str| mutated(value!({"patchType": "JSONPatch", "jsonPatch": {"expression": text}}));
    let made = patch(
        "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1},
          JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: variables.team},
          JSONPatch{op: 'replace', path: '/spec/template/spec', value: Object.spec.template.spec{hostNetwork: true}}]",
    )
    .expect("it applies");
    assert_eq!(made.str_at(&["metadata", "labels", "a/b"]), Some("blue"));
    assert_eq!(made.at(&["spec", "template", "spec"]), Some(&value!({"hostNetwork": true})));
    // A test that fails says that the patch is not for this object.
    let tested =
        patch("[JSONPatch{op: 'test', path: '/spec/replicas', value: 2}, JSONPatch{op: 'remove', path: '/spec'}]");
    assert_eq!(tested.map(|object| object.i64_at(&["spec", "replicas"])), Ok(Some(1)));
    let missing = patch("[JSONPatch{op: 'remove', path: '/nope'}]").expect_err("nothing is there");
    assert!(missing.starts_with("JSON Patch: "), "{missing}");
}
