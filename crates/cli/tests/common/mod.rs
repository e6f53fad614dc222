//! What the end-to-end tests begin with: an Onggi of their own around the `onggi` that cargo has just built.

#![allow(dead_code, reason = "each test program uses some of it")]

pub(crate) mod network;
pub(crate) mod registry;

use onggi_testkit::TestEnv;

/// An empty Onggi.
pub(crate) fn fresh() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_onggi"))
}

/// An empty Onggi of an ordinary user's, and one with the image busybox.
pub(crate) fn fresh_of_ordinary_user() -> TestEnv {
    TestEnv::of_ordinary_user(env!("CARGO_BIN_EXE_onggi"))
}

pub(crate) fn busybox_of_ordinary_user() -> TestEnv {
    let onggi = fresh_of_ordinary_user();
    onggi.import("busybox");
    onggi
}

/// One with the image busybox.
pub(crate) fn busybox() -> TestEnv {
    TestEnv::with_busybox(env!("CARGO_BIN_EXE_onggi"))
}
