//! Small languages.

use skiff_apimachinery::quantity::Quantity;
use skiff_apimachinery::{fields, labels};

pub(crate) fn label_selector(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = labels::Selector::parse(text);
    }
}

pub(crate) fn field_selector(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = fields::Selector::parse(text);
    }
}

pub(crate) fn quantity(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(quantity) = Quantity::parse(text) {
        let canonical = quantity.to_string();
        let again = Quantity::parse(&canonical).expect("the canonical form is a quantity");
        assert!(again == quantity, "{canonical:?} is not {text:?}");
        // The form changes once more where it says nothing of the format: 62.5Ki is 64000, which is 64k.
        let settled = again.to_string();
        let third = Quantity::parse(&settled).expect("the canonical form is a quantity");
        assert_eq!(third.to_string(), settled, "the canonical form of {text:?} does not settle");
    }
}
