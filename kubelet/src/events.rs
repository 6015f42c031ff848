//! Events about pods, containers and the node. A narrow trait stands between the kubelet and the recorder, so that
//! tests can read what was said.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use skiff_client::{EventRecorder, EventType, ObjectReference};

use crate::pod::PodExt;

/// Takes events. Must not block.
pub(crate) trait EventSink: Send + Sync {
    fn event(&self, object: &ObjectReference, type_: EventType, reason: &str, message: String);
}

impl EventSink for EventRecorder {
    fn event(&self, object: &ObjectReference, type_: EventType, reason: &str, message: String) {
        EventRecorder::event(self, object, type_, reason, message);
    }
}

/// The kubelet's way of saying what happened. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    sink: Arc<dyn EventSink>,
}

impl Events {
    pub(crate) fn new(sink: impl EventSink + 'static) -> Self {
        Self { sink: Arc::new(sink) }
    }

    /// Something normal about a pod.
    pub(crate) fn pod(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.sink.event(&pod.reference(), EventType::Normal, reason, message.into());
    }

    /// Something about a pod that a person may have to look at.
    pub(crate) fn pod_warning(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.sink.event(&pod.reference(), EventType::Warning, reason, message.into());
    }

    /// Something normal about a container.
    pub(crate) fn container(&self, pod: &Pod, name: &str, reason: &str, message: impl Into<String>) {
        let object = pod.container_reference(name);
        self.sink.event(&object, EventType::Normal, reason, message.into());
    }

    /// Something about a container that a person may have to look at.
    pub(crate) fn container_warning(&self, pod: &Pod, name: &str, reason: &str, message: impl Into<String>) {
        let object = pod.container_reference(name);
        self.sink.event(&object, EventType::Warning, reason, message.into());
    }

    /// Something about the node.
    pub(crate) fn node(&self, name: &str, type_: EventType, reason: &str, message: impl Into<String>) {
        // Upstream's kubelet gives the node's name as its UID, and clients look for that.
        let object = ObjectReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid: name.into(),
            ..Default::default()
        };
        self.sink.event(&object, type_, reason, message.into());
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use parking_lot::Mutex;

    /// Remembers events as `TYPE REASON: MESSAGE`.
    #[derive(Clone, Default)]
    pub(crate) struct Recorded {
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Recorded {
        /// A recorder and the way to it.
        pub(crate) fn events() -> (Events, Self) {
            let recorded = Self::default();
            (Events::new(recorded.clone()), recorded)
        }

        /// Whether an event begins with `text`.
        pub(crate) fn has(&self, text: &str) -> bool {
            self.lines.lock().iter().any(|line| line.starts_with(text))
        }
    }

    impl EventSink for Recorded {
        fn event(&self, _: &ObjectReference, type_: EventType, reason: &str, message: String) {
            self.lines.lock().push(format!("{} {reason}: {message}", type_.as_str()));
        }
    }
}
