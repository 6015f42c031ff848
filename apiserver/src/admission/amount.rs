//! Amounts of resources such as `100m` or `2Gi`, exact to a billionth.
//!
//! Follows `k8s.io/apimachinery/pkg/api/resource` as far as limits and quotas need it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use skiff_apimachinery::value::{Object, Value};

const NANO: i128 = 1_000_000_000;
/// Longest number that is read; a longer one is beyond every limit anyway.
const MAX_DIGITS: usize = 27;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// How an amount is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// An amount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    nanos: i128,
    form: Form,
}

impl Amount {
    pub(super) fn whole(number: i64) -> Self {
        Self { nanos: i128::from(number) * NANO, form: Form::Decimal }
    }

    /// Reads a quantity as objects have it; `None` for anything else.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(Self::whole(*number)),
            Value::String(text) => Self::parse(text),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > MAX_DIGITS || digits.contains('.') {
            return None;
        }
        let mantissa = digits.parse::<i128>().ok()?;
        let places = i32::try_from(fraction.len()).ok()?;
        let (nanos, form) = match BINARY.iter().find(|(name, _)| *name == suffix) {
            Some((_, bits)) => {
                (scaled(mantissa.checked_shl(*bits).filter(|v| v >> bits == mantissa)?, 9 - places)?, Form::Binary)
            }
            None => match DECIMAL.iter().find(|(name, _)| *name == suffix) {
                Some((_, power)) => (scaled(mantissa, 9 + power - places)?, Form::Decimal),
                None => {
                    let power = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
                    (scaled(mantissa, 9 + power - places)?, Form::Exponent)
                }
            },
        };
        Some(Self { nanos: if negative { -nanos } else { nanos }, form })
    }

    pub(super) fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub(super) fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, written as `self` is unless that is zero.
    pub(super) fn plus(self, other: Self) -> Self {
        let form = if self.is_zero() { other.form } else { self.form };
        Self { nanos: self.nanos.saturating_add(other.nanos), form }
    }

    /// What is left, at least zero.
    pub(super) fn minus(self, other: Self) -> Self {
        let form = if self.is_zero() { other.form } else { self.form };
        Self { nanos: self.nanos.saturating_sub(other.nanos).max(0), form }
    }

    /// Rounded up to a whole number.
    pub(super) fn rounded_up(self) -> Self {
        let rest = self.nanos.rem_euclid(NANO);
        if rest == 0 { self } else { Self { nanos: self.nanos.saturating_add(NANO - rest), form: self.form } }
    }

    /// How many times `other`, for showing.
    pub(super) fn ratio(self, other: Self) -> f64 {
        self.nanos as f64 / other.nanos as f64
    }

    /// This amount times another, compared with a third: whether `self > times * other` without rounding.
    pub(super) fn exceeds_times(self, times: Self, other: Self) -> bool {
        let (Some(left), Some(right)) = (self.nanos.checked_mul(NANO), times.nanos.checked_mul(other.nanos)) else {
            return self.ratio(other) > times.nanos as f64 / NANO as f64;
        };
        left > right
    }
}

/// `mantissa * 10^power`, rounded up where digits are lost.
fn scaled(mantissa: i128, power: i32) -> Option<i128> {
    let factor = 10i128.checked_pow(power.unsigned_abs());
    match (power >= 0, factor) {
        (true, Some(factor)) => mantissa.checked_mul(factor),
        (true, None) => (mantissa == 0).then_some(0),
        (false, Some(factor)) => Some(mantissa / factor + i128::from(mantissa % factor != 0)),
        (false, None) => Some(i128::from(mantissa != 0)),
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The canonical form: the largest suffix that leaves a whole number.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.form == Form::Binary && self.nanos % NANO == 0 && whole.abs() >= 1024 {
            let fits = |(_, bits): &&(&str, u32)| whole % (1i128 << bits) == 0;
            return match BINARY.iter().rev().find(fits) {
                Some((suffix, bits)) => write!(f, "{}{suffix}", whole >> bits),
                None => write!(f, "{whole}"),
            };
        }
        let fits = |(_, power): &&(&str, i32)| scaled(1, 9 + power).is_some_and(|unit| self.nanos % unit == 0);
        let (suffix, power) = DECIMAL.iter().rev().find(fits).copied().unwrap_or(("n", -9));
        let number = self.nanos / scaled(1, 9 + power).unwrap_or(1);
        match self.form {
            Form::Exponent if power != 0 => write!(f, "{number}e{power}"),
            _ => write!(f, "{number}{suffix}"),
        }
    }
}

/// Amounts by resource name, in order.
pub(super) type Amounts = BTreeMap<String, Amount>;

/// The amounts of a resource list such as `requests`; what cannot be read is left to validation.
pub(super) fn amounts(list: Option<&Value>) -> Amounts {
    let list = list.and_then(Value::as_object);
    let all = list.into_iter().flat_map(Object::iter);
    all.filter_map(|(name, value)| Some((name.to_owned(), Amount::of(value)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        most.entry(name.clone()).and_modify(|most| *most = (*most).max(*amount)).or_insert(*amount);
    }
}

/// What a pod needs of `requests` or `limits` in all: its containers together, but at least what the hungriest init
/// container needs beside the sidecars started before it; what is set for the pod as a whole counts instead.
pub(super) fn pod_amounts(pod: &Value, field: &str) -> Amounts {
    let of = |container: &Value| amounts(container.at(&["resources", field]));
    let mut sum = Amounts::new();
    for container in pod.array_at(&["spec", "containers"]) {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in pod.array_at(&["spec", "initContainers"]) {
        let mut own = of(container);
        if container.str_at(&["restartPolicy"]) == Some("Always") {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut init, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut init, &own);
        }
    }
    raise(&mut sum, &init);
    for (name, amount) in amounts(pod.at(&["spec", "resources", field])) {
        if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
            sum.insert(name, amount);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn amounts_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("512Ki", "512Ki"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("100Ei", "100Ei"),
            ("-5", "-5"),
            ("0.0000000001", "1n"),
            ("12345678", "12345678"),
        ] {
            assert_eq!(amount(text).to_string(), canonical);
        }
        for text in ["", "x", "1.2.3", "1Q", "1e", "--1", "9999999999999999999999999999"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_add_and_compare() {
        assert_eq!(amount("500m").plus(amount("1.5")).to_string(), "2");
        assert_eq!(Amount::whole(0).plus(amount("1Gi")).to_string(), "1Gi");
        assert_eq!(amount("1Gi").plus(amount("1G")).to_string(), "2073741824");
        assert_eq!(amount("1").minus(amount("2")).to_string(), "0");
        assert!(amount("1Gi") > amount("1G") && amount("1000m") == amount("1"));
        assert_eq!(amount("1.1").rounded_up().to_string(), "2");
        assert!(amount("2001m").exceeds_times(amount("2"), amount("1")));
        assert!(!amount("2").exceeds_times(amount("2"), amount("1")));
    }

    #[test]
    fn pods_need_the_most_of_their_phases() {
        let container = |cpu: &str| value!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("1");
        sidecar.set_at(&["restartPolicy"], "Always");
        let mut pod = value!({"spec": {
            "initContainers": [(sidecar), (container("3"))],
            "containers": [(container("500m")), (container("500m"))]
        }});
        assert_eq!(pod_amounts(&pod, "requests")["cpu"].to_string(), "4");
        pod.set_at(&["spec", "resources", "requests", "cpu"], "7");
        assert_eq!(pod_amounts(&pod, "requests")["cpu"].to_string(), "7");
    }
}
