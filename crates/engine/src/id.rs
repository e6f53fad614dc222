//! A container's id: 64 lower hexadecimal digits, 256 random bits.
//!
//! Every name that Onggi gives to something in the kernel or on disk for a container follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Parsed once at the edge; after that no function takes a bare string for it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// `getrandom(2)` fails on no kernel that Onggi supports; its error is passed on all the same.
    pub fn random() -> std::io::Result<ContainerId> {
        use fmt::Write;
        let mut bytes = [0u8; 32];
        loop {
            let mut filled = 0;
            while filled < bytes.len() {
                filled +=
                    rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
            }
            let mut text = String::with_capacity(64);
            for byte in bytes {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            // The short form is a hostname by default, and one of digits only is taken for a number (moby's stringid does the same).
            if text[..12].bytes().any(|byte| byte.is_ascii_lowercase()) {
                return Ok(ContainerId(text));
            }
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as lists show it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;

    fn try_from(text: String) -> Result<ContainerId, String> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(ContainerId(text));
        }
        Err(format!("`{text}` is no container id"))
    }
}

impl std::str::FromStr for ContainerId {
    type Err = String;

    fn from_str(text: &str) -> Result<ContainerId, String> {
        ContainerId::try_from(text.to_owned())
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> String {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = ContainerId::random().unwrap();
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert_ne!(id, ContainerId::random().unwrap());
        assert_eq!(id.short().len(), 12);
        for text in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), "../../etc"] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }
}
