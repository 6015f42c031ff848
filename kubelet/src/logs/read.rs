//! Reading logs for `kubectl logs`.
