//! What machine an image is for, in Go's words (`amd64`, `arm64`), as the OCI index names it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::excerpt;

/// An operating system, a processor and, for some, a variant of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The machine that this program was built for.
    #[must_use]
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), ..Platform::default() }
    }

    /// Whether nothing that is said here is otherwise on `host`. Images of old builders leave out what they are for.
    #[must_use]
    pub fn agrees_with(&self, host: &Platform) -> bool {
        (self.os.is_empty() || self.os == host.os)
            && (self.architecture.is_empty() || self.architecture == host.architecture)
    }

    /// How well an image for this platform runs on `host`: `None` not at all, and of several the smallest is the best. First comes the
    /// variant that `host` has, then the plain processor, then other variants (`amd64/v3` may need instructions that the host lacks).
    #[must_use]
    pub fn rank_for(&self, host: &Platform) -> Option<u32> {
        if self.os != host.os || self.architecture != host.architecture {
            return None;
        }
        Some(match (self.distinct_variant(), host.distinct_variant()) {
            (image, host) if image == host => 0,
            (None, _) => 1,
            _ => 2,
        })
    }

    /// The variant, unless it is what the plain processor means.
    fn distinct_variant(&self) -> Option<&str> {
        let variant = self.variant.as_deref().filter(|variant| !variant.is_empty())?;
        let plain = matches!((self.architecture.as_str(), variant), ("arm64", "v8") | ("amd64", "v1"));
        (!plain).then_some(variant)
    }
}

/// `os/architecture[/variant]`, or one of the first two alone with the host's other, as containerd's `platforms.Parse`.
impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Platform, String> {
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        let sound = |part: &String| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !parts.iter().all(sound) || parts.len() > 3 {
            return Err(format!(
                "\"{text}\" is an invalid platform: write os/architecture[/variant], linux/amd64 say"
            ));
        }
        let architecture = |name: &str| match name {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "i386" => "386".to_owned(),
            other => other.to_owned(),
        };
        let host = Platform::host();
        let (os, architecture) = match parts.as_slice() {
            [os] if matches!(os.as_str(), "linux" | "windows" | "darwin" | "freebsd") => {
                (os.clone(), host.architecture)
            }
            [alone] => (host.os, architecture(alone)),
            [os, name, ..] => (os.clone(), architecture(name)),
            [] => (host.os, host.architecture),
        };
        Ok(Platform { architecture, os, variant: parts.get(2).cloned(), ..Platform::default() })
    }
}

impl Platform {
    /// A list of them as a message has it: what a person reads of an index with thousands of entries, which may be of any length themselves.
    #[must_use]
    pub fn list(platforms: &[Platform]) -> String {
        const MOST: usize = 20;
        if platforms.is_empty() {
            return "none that names a platform".to_owned();
        }
        let shown = platforms.iter().take(MOST).map(|platform| excerpt(&platform.to_string()));
        let shown = shown.collect::<Vec<_>>().join(", ");
        match platforms.len().saturating_sub(MOST) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let os = parts.next().unwrap();
        Platform { os, architecture: parts.next().unwrap(), variant: parts.next(), ..Platform::default() }
    }

    #[test]
    fn the_plain_processor_comes_first() {
        let host = platform("linux/amd64");
        for (image, rank) in [
            ("linux/amd64", Some(0)),
            ("linux/amd64/v1", Some(0)),
            ("linux/amd64/v3", Some(2)),
            ("linux/arm64", None),
            ("windows/amd64", None),
            ("unknown/unknown", None),
        ] {
            assert_eq!(platform(image).rank_for(&host), rank, "{image}");
            assert_eq!(platform(image).to_string(), image);
            assert_eq!(platform(image).agrees_with(&host), rank.is_some(), "{image}");
        }
        let second = platform("linux/arm/v7");
        for (image, rank) in [
            ("linux/arm/v7", Some(0)),
            ("linux/arm", Some(1)),
            ("linux/arm/v6", Some(2)),
            ("linux/arm64/v8", None),
        ] {
            assert_eq!(platform(image).rank_for(&second), rank, "{image}");
        }
        assert!(Platform::default().agrees_with(&host), "what is not said is not contradicted");
    }
}
