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
        assert_eq!(again.to_string(), canonical, "the canonical form of {text:?} has another");
        assert!(again == quantity, "{canonical:?} is not {text:?}");
    }
}
