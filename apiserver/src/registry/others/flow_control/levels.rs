//! PriorityLevelConfiguration.

use skiff_apimachinery::field::{Error, ErrorList, Path};
use skiff_apimachinery::value::{Object, Value};

use super::{mandatory, standing_levels, status};
use crate::registry::at::At;
use crate::registry::defaults::{absent, nonzero, within};
use crate::registry::internal;
use crate::registry::strategy::{Strategy, WriteScope};

const TYPES: &[&str] = &["Exempt", "Limited"];
const RESPONSES: &[&str] = &["Queue", "Reject"];
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash that dealing a hand may use up.
const MAX_HASH_BITS: i64 = 60;
/// An annotation of older versions.
const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

/// PriorityLevelConfiguration.
pub struct PriorityLevelStrategy;

impl Strategy for PriorityLevelStrategy {
    fn set_defaults(&self, object: &mut Value) {
        let spec = object.object_at_mut(&["spec"]);
        within(spec, "exempt", |exempt| {
            absent(exempt, "nominalConcurrencyShares", 0);
            absent(exempt, "lendablePercent", 0);
        });
        within(spec, "limited", |limited| {
            absent(limited, "nominalConcurrencyShares", 30);
            absent(limited, "lendablePercent", 0);
            within(limited, "limitResponse", |response| within(response, "queuing", queuing_defaults));
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let root = At::root(object);
        if object.at(&["metadata", "annotations", PRESERVE_ZERO]).is_some() {
            let path = Path::new("metadata").child("annotations");
            errors.push(Error::forbidden(&path, format!("annotation '{PRESERVE_ZERO}' is forbidden")));
        }
        let name = object.str_at(&["metadata", "name"]).unwrap_or("");
        spec(&root.child("spec"), name, &mut errors);
        fixed(object, name, &mut errors);
        status(&root.child("status"), &mut errors);
        errors
    }

    fn validate_update(&self, _scope: WriteScope<'_>, new: &Value, _old: &Value) -> ErrorList {
        self.validate(new)
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        status(&At::root(new).child("status"), &mut errors);
        errors
    }

    fn counts_generation(&self) -> bool {
        true
    }
}

fn queuing_defaults(queuing: &mut Object) {
    nonzero(queuing, "handSize", 8);
    nonzero(queuing, "queues", 64);
    nonzero(queuing, "queueLengthLimit", 50);
}

/// Of the exempt level only what it lends may be changed, of others that must be there nothing.
fn fixed(object: &Value, name: &str, errors: &mut ErrorList) {
    let (Some(fixed), Some(spec)) = (mandatory(name, standing_levels()), object.get("spec")) else { return };
    let mut compared = spec.clone();
    let message = if name == "exempt" {
        if let Some(exempt) = fixed.get("exempt") {
            compared.set_at(&["exempt"], exempt.clone());
        }
        "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value".to_owned()
    } else {
        format!("spec of '{name}' must equal the fixed value")
    };
    if compared != *fixed {
        let shown = internal::shown(Some(spec), "PriorityLevelConfigurationSpec");
        errors.push(Error::invalid(&Path::new("spec"), shown, message));
    }
}

fn spec(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let (kind, limited, exempt) = (spec.child("type"), spec.child("limited"), spec.child("exempt"));
    if (name == "exempt") != (kind.text() == "Exempt") {
        kind.invalid(errors, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(errors, "must be nil if the type is not Limited");
            }
            let shares = exempt.child("nominalConcurrencyShares");
            if shares.int().is_some_and(|shares| shares < 0) {
                shares.invalid(errors, "must be a non-negative integer");
            }
            percentage(&exempt.child("lendablePercent"), errors);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(errors, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                self::limited(&limited, errors);
            } else {
                limited.required(errors, "must not be empty when type is Limited");
            }
        }
        _ => kind.not_supported(errors, TYPES),
    }
}

fn percentage(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        at.invalid(errors, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &At<'_>, errors: &mut ErrorList) {
    let shares = limited.child("nominalConcurrencyShares");
    if shares.int().is_some_and(|shares| shares < 0) {
        shares.invalid(errors, "must be a non-negative integer");
    }
    let response = limited.child("limitResponse");
    let (kind, queuing) = (response.child("type"), response.child("queuing"));
    match (kind.text(), queuing.is_set()) {
        ("Reject", true) => queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", false) => {}
        ("Queue", false) => {
            queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", true) => self::queuing(&queuing, errors),
        _ => kind.not_supported(errors, RESPONSES),
    }
    percentage(&limited.child("lendablePercent"), errors);
    let borrowing = limited.child("borrowingLimitPercent");
    if borrowing.int().is_some_and(|percent| percent < 0) {
        borrowing.invalid(errors, "if specified, must be a non-negative integer");
    }
}

fn queuing(queuing: &At<'_>, errors: &mut ErrorList) {
    let (length, queues, hand) =
        (queuing.child("queueLengthLimit"), queuing.child("queues"), queuing.child("handSize"));
    let positive = |at: &At<'_>, errors: &mut ErrorList| {
        let positive = at.int().is_some_and(|number| number > 0);
        if !positive {
            at.or_zero().invalid(errors, "must be positive");
        }
        positive
    };
    positive(&length, errors);
    let number = queues.int().unwrap_or(0);
    if positive(&queues, errors) && number > MAX_QUEUES {
        queues.invalid(errors, format!("must not be greater than {MAX_QUEUES}"));
    }
    if !positive(&hand, errors) {
        return;
    }
    let cards = hand.int().unwrap_or(0);
    if cards > number {
        hand.invalid(errors, format!("should not be greater than queues ({number})"));
    } else if entropy_bits(number, cards) > MAX_HASH_BITS {
        hand.invalid(
            errors,
            format!("required entropy bits of deckSize {number} and handSize {cards} should not be greater than {MAX_HASH_BITS}"),
        );
    }
}

/// Bits that dealing so many of so many cards uses up, by upstream's estimate.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "both numbers are below 2^31")]
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}
