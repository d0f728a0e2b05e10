//! A fleet of the engine, without the collector around it.

use lubdub_engine::{Admitted, AgentIndex, Effect, Fleet, Input, Refused};
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::Hello;
use lubdub_shared::time::Now;

/// A stream begins; what it is welcomed with.
///
/// # Errors
/// It is refused.
pub fn attach(
    fleet: &mut Fleet,
    hello: Hello,
    policy: &VersionedPolicy,
    session: u64,
    now: Now,
    out: &mut Vec<(AgentIndex, Effect)>,
) -> Result<Admitted, Refused> {
    let (hello, policy) = (Box::new(hello), policy.clone());
    let admitted = fleet.apply(Input::Hello { session, hello, policy }, now, out)?;
    Ok(admitted.expect("a Hello is answered"))
}

/// Applies what is never refused.
pub fn apply(fleet: &mut Fleet, input: Input, now: Now, out: &mut Vec<(AgentIndex, Effect)>) {
    drop(fleet.apply(input, now, out).expect("it is never refused"));
}
