//! Creating and deleting pods on behalf of an owner, who tells its users about each (upstream `RealPodControl`).

use kube::Client;
use serde_json::Value;
use skiff_client::objects::DeleteOptions;
use skiff_client::types::Pod;
use skiff_client::{EventRecorder, EventType, ObjectReference, Objects, errors};

/// The pods of one owner.
pub struct PodControl<'a> {
    /// Requests on pods in the owner's namespace.
    pods: Objects<Pod>,
    recorder: &'a EventRecorder,
    owner: ObjectReference,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It was asked for and will be seen.
    Asked,
    /// The pod is gone already, or another one of the same name is there: nothing will be seen.
    NotNeeded,
}

impl<'a> PodControl<'a> {
    /// For an owner.
    pub fn new(client: &Client, recorder: &'a EventRecorder, owner: ObjectReference) -> Self {
        Self { pods: Objects::namespaced(client, &owner.namespace), recorder, owner }
    }

    /// Creates a pod. `Err(None)` if everything in the namespace is going: no creation can succeed, and none is needed.
    pub async fn create(&self, pod: &Value) -> Result<(), Option<kube::Error>> {
        match self.pods.create(pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.metadata.name);
                self.recorder.event(&self.owner, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if errors::is_namespace_terminating(&error) => Err(None),
            Err(error) => {
                let message = format!("Error creating: {}", describe(&error));
                self.recorder.event(&self.owner, EventType::Warning, "FailedCreate", message);
                Err(Some(error))
            }
        }
    }

    /// Deletes this very pod, not one of the same name that came after it.
    pub async fn delete(&self, pod: &Pod) -> Result<Deletion, kube::Error> {
        match self.pods.delete(&pod.metadata.name, &DeleteOptions::with_uid(&pod.metadata.uid)).await {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.metadata.name);
                self.recorder.event(&self.owner, EventType::Normal, "SuccessfulDelete", message);
                Ok(Deletion::Asked)
            }
            Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => Ok(Deletion::NotNeeded),
            Err(error) => {
                let message = format!("Error deleting: {}", describe(&error));
                self.recorder.event(&self.owner, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }
}

/// The server's message alone, if it gave one: what a user should read.
pub fn describe(error: &kube::Error) -> String {
    errors::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

/// An error whose text is the server's message (it becomes an event or a condition), and whose kind can still be asked
/// for.
pub fn refusal(error: kube::Error) -> anyhow::Error {
    let text = describe(&error);
    match error {
        kube::Error::Api(_) => anyhow::Error::new(error).context(text),
        other => other.into(),
    }
}
