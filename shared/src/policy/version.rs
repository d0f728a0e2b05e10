//! A policy with the number by which a collector and a sidecar know that they speak of the same.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::Policy;

/// A policy and its version, made once and shared. The version is never 0; it is made anew by each
/// collector, and compared with nothing that another made.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedPolicy(Arc<(Policy, u64)>);

impl VersionedPolicy {
    /// The number that a policy's content gives.
    pub fn version(&self) -> u64 {
        self.0.1
    }
}

impl From<Policy> for VersionedPolicy {
    fn from(policy: Policy) -> Self {
        let mut hasher = DefaultHasher::new();
        let text = serde_json::to_string(&policy).expect("keys are words, numbers are finite");
        text.hash(&mut hasher);
        Self(Arc::new((policy, hasher.finish().max(1))))
    }
}

impl Deref for VersionedPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_has_the_same_version() {
        let one = VersionedPolicy::from(Policy::default());
        let mut other = Policy::default();
        assert_eq!(one.version(), VersionedPolicy::from(other.clone()).version());
        other.name = "other".to_owned();
        assert_ne!(one.version(), VersionedPolicy::from(other).version());
    }
}
