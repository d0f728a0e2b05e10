//! What follows from findings: the ladder, and the proof that an act has helped.

pub(crate) mod fusion;
pub(crate) mod ladder;
pub(crate) mod verify;
