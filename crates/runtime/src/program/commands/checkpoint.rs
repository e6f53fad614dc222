//! `checkpoint` and `restore`: known, and refused by name.

use super::super::Context;
use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::{Command, NOT_SUPPORTED};

pub(crate) const CHECKPOINT: Command = Command {
    name: "checkpoint",
    usage: "<container-id>",
    about: NOT_SUPPORTED,
    flags: NONE,
    arguments: 0..=usize::MAX,
    stops_at_first: true,
    failure_code: 1,
    run: |_: &Context, _: &Parsed| Err(Error::unsupported("checkpoint")),
};

pub(crate) const RESTORE: Command = Command {
    name: "restore",
    usage: "<container-id>",
    about: NOT_SUPPORTED,
    flags: NONE,
    arguments: 0..=usize::MAX,
    stops_at_first: true,
    failure_code: 1,
    run: |_: &Context, _: &Parsed| Err(Error::unsupported("restore")),
};

const NONE: &[Flag] = &[];
