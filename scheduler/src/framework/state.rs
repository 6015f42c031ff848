//! What plugins remember within one cycle.

use std::any::Any;
use std::collections::BTreeSet;

/// A value that a cycle's state can hold and copy.
trait Remembered: Any + Send {
    fn copy(&self) -> Box<dyn Remembered>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any + Clone + Send> Remembered for T {
    fn copy(&self) -> Box<dyn Remembered> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// State of one cycle: one value per type, so a plugin's own type is its key. Copied when preemption imagines nodes
/// without some of their pods.
#[derive(Default)]
pub struct CycleState {
    values: Vec<Box<dyn Remembered>>,
    /// Plugins whose Filter has nothing to check in this cycle.
    pub skip_filter: Vec<&'static str>,
    /// What PreFilter leaves of the nodes; none: all.
    pub only_nodes: Option<OnlyNodes>,
}

/// Nodes that are worth asking about, when a pod names them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlyNodes {
    /// Names; there need not be such nodes.
    pub names: BTreeSet<String>,
    /// Plugin that says so.
    pub plugin: &'static str,
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        // Through the box, or the box itself would be taken for the value.
        let values = self.values.iter().map(|value| (**value).copy()).collect();
        Self { values, skip_filter: self.skip_filter.clone(), only_nodes: self.only_nodes.clone() }
    }
}

impl CycleState {
    /// Remembers a value; an earlier one of its type is replaced.
    pub fn write<T: Any + Clone + Send>(&mut self, value: T) {
        match self.get_mut::<T>() {
            Some(have) => *have = value,
            None => self.values.push(Box::new(value)),
        }
    }

    /// The value of a type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.values.iter().find_map(|value| (**value).as_any().downcast_ref())
    }

    /// The value of a type, to change.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values.iter_mut().find_map(|value| (**value).as_any_mut().downcast_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_one_value_per_type_and_copies_deeply() {
        let mut state = CycleState::default();
        state.write(1u32);
        state.write(vec![1u8]);
        state.write(2u32);
        let mut copy = state.clone();
        copy.get_mut::<Vec<u8>>().expect("copied").push(2);
        assert_eq!((state.get::<u32>(), state.get::<Vec<u8>>()), (Some(&2), Some(&vec![1])));
        assert_eq!(copy.get::<Vec<u8>>(), Some(&vec![1, 2]));
        assert_eq!(state.get::<u64>(), None);
    }
}
