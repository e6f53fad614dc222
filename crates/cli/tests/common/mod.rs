//! What the end-to-end tests begin with: an Onggi of their own around the `onggi` that cargo has just built.

#![allow(dead_code, reason = "each test program uses some of it")]

pub(crate) mod network;

use onggi_testkit::TestEnv;

/// An empty Onggi.
pub(crate) fn fresh() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_onggi"))
}

/// One with the image busybox.
pub(crate) fn busybox() -> TestEnv {
    TestEnv::with_busybox(env!("CARGO_BIN_EXE_onggi"))
}
