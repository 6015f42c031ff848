//! Whose token is this? Asked by kubelets and extension API servers.
//!
//! Follows `pkg/registry/authentication/tokenreview/storage.go`.

use skiff_apimachinery::status::{self, Status};
use skiff_apimachinery::value::Value;

use super::{Authentication, strings};
use crate::authentication::service_account::TokenUser;

/// What is said of tokens that no authenticator knows.
const INVALID: &str = "invalid bearer token";

impl Authentication {
    /// Answers a TokenReview: the same object with its status.
    pub async fn review(&self, review: &Value) -> Result<Value, Status> {
        let token = review.str_at(&["spec", "token"]).unwrap_or("");
        if token.is_empty() {
            return Err(status::bad_request("token is required for TokenReview in authentication"));
        }
        let asked = review.array_at(&["spec", "audiences"]).iter().filter_map(Value::as_str);
        let mut audiences = asked.map(str::to_owned).collect::<Vec<_>>();
        if audiences.is_empty() {
            audiences = self.service_accounts.api_audiences().to_vec();
        }
        let mut answer = review.clone();
        answer.remove_at(&["status"]);
        match self.token_for(token, &audiences).await {
            Ok(found) => {
                answer.set_at(&["status", "authenticated"], true);
                answer.set_at(&["status", "audiences"], strings(&found.audiences));
                answer.set_at(&["status", "user"], found.user.authenticated().to_value());
            }
            Err(error) => {
                // A token that somebody could read and refused is not one for anybody else, either.
                let text = if error == INVALID { error } else { format!("[{INVALID}, {error}]") };
                answer.set_at(&["status", "error"], text);
                answer.object_at_mut(&["status", "user"]);
            }
        }
        Ok(answer)
    }

    async fn token_for(&self, token: &str, audiences: &[String]) -> Result<TokenUser, String> {
        let now = (self.clock)();
        if let Some(found) = self.service_accounts.review(token, audiences, now).await? {
            return Ok(found);
        }
        let invalid = || INVALID.to_owned();
        let mut found = self.bootstrap_user(token, now).ok_or_else(invalid)?;
        // Such a token is for this API server only.
        found.audiences.retain(|audience| audiences.contains(audience));
        if found.audiences.is_empty() { Err(invalid()) } else { Ok(found) }
    }
}
