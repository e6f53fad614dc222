//! Who may: challenges, tokens, and where credentials are kept.

pub(crate) mod challenge;
pub(crate) mod file;
pub(crate) mod helper;
pub(crate) mod token;

pub use file::{AuthFiles, Stored};

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// A token that is exchanged for others (OAuth 2's refresh token, Docker's identity token).
    Identity {
        token: String,
    },
    /// A token that is shown to the registry as it is.
    Registry {
        token: String,
    },
}

impl Credential {
    /// The user's name, where there is one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Credential::Password { user, .. } => Some(user),
            Credential::Identity { .. } | Credential::Registry { .. } => None,
        }
    }
}

/// Never shows a secret, also not in a test that fails.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Credential::Password { .. } => "Password",
            Credential::Identity { .. } => "Identity",
            Credential::Registry { .. } => "Registry",
        };
        f.debug_struct(kind).field("user", &self.user()).finish_non_exhaustive()
    }
}
