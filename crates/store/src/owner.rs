//! Whose an image is: each name was given by somebody (a person, a builder, Kubernetes), and a collection for one of them takes nothing of another's.
//!
//! A person comes first: what one has pulled, loaded or named is a person's from then on, whoever else asks for it later.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who gives names: `person`, or what a program calls itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

/// Letters of an owner's name.
const MOST: usize = 32;
const PERSON: &str = "person";

impl Owner {
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.0 == PERSON
    }

    /// Whose a thing is that was `self`'s, now that `by` asks for it as well.
    pub(crate) fn or(&self, by: &Owner) -> Owner {
        if by.is_person() { by.clone() } else { self.clone() }
    }
}

impl Default for Owner {
    fn default() -> Owner {
        Owner(PERSON.to_owned())
    }
}

impl FromStr for Owner {
    type Err = String;

    /// Small letters, digits and hyphens, a letter first; at most 32.
    fn from_str(text: &str) -> Result<Owner, String> {
        let is_part = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if begins && text.len() <= MOST && text.bytes().all(is_part) {
            return Ok(Owner(text.to_owned()));
        }
        Err(format!("write a name of small letters, digits and hyphens, at most {MOST}, such as kubernetes"))
    }
}

impl TryFrom<String> for Owner {
    type Error = String;

    fn try_from(text: String) -> Result<Owner, String> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        owner.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_owners() {
        for text in ["person", "kubernetes", "k8s", "a-b"] {
            assert_eq!(text.parse::<Owner>().map(|owner| owner.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "1a", "-a", "A", "a b", "a/b", "ä", &"a".repeat(33)] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
            assert!(serde_json::from_value::<Owner>(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_person_s_stays_a_person_s() {
        let [person, kubernetes, builder] =
            ["person", "kubernetes", "builder"].map(|text| text.parse::<Owner>().unwrap());
        for (was, by, is) in [
            (&person, &kubernetes, &person),
            (&kubernetes, &person, &person),
            (&kubernetes, &builder, &kubernetes),
            (&builder, &builder, &builder),
        ] {
            assert_eq!(was.or(by), *is, "{was} {by}");
        }
        assert_eq!(Owner::default(), person);
    }
}
