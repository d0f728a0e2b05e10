//! A fleet of the engine, without the collector around it.

use lubdub_engine::{Admitted, AgentIndex, Effect, Fleet, Input, Refused};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::Hello;
use lubdub_shared::time::Now;

/// A stream begins; its agent, and what it is welcomed with. The rest goes out.
///
/// # Errors
/// It is refused.
pub fn attach(
    fleet: &mut Fleet,
    hello: Hello,
    policy: &Policy,
    session: u64,
    now: Now,
    out: &mut Vec<(AgentIndex, Effect)>,
) -> Result<(AgentIndex, Admitted), Refused> {
    let (hello, policy) = (Box::new(hello), policy.clone().into());
    fleet.apply(Input::Hello { session, hello, policy }, now, out)?;
    let welcome = out.iter().rposition(|(_, effect)| matches!(effect, Effect::Welcome(_)));
    let (agent, effect) = out.remove(welcome.expect("who is admitted is welcome"));
    let Effect::Welcome(admitted) = effect else { unreachable!("it was found by that") };
    Ok((agent, *admitted))
}

/// Applies what is never refused.
pub fn apply(fleet: &mut Fleet, input: Input, now: Now, out: &mut Vec<(AgentIndex, Effect)>) {
    fleet.apply(input, now, out).expect("it is never refused");
}
