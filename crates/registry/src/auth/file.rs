//! Files that say how to log in: Docker's `config.json` and Podman's `auth.json`, which have one form.
//!
//! Only `auths`, `credsStore` and `credHelpers` are ours to read; everything else in such a file is somebody else's and is written back as it was.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Credential, helper};
use crate::error::Error;
use crate::watch::Watch;

/// What `docker login` files Docker Hub under, since it was the Hub's first API.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB: &str = "docker.io";
const FILE_LIMIT: u64 = 4 << 20;

/// The files that are looked into, in order, and the one that a login goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFiles {
    pub read: Vec<PathBuf>,
    pub write: PathBuf,
}

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In a file, where everybody who can read it can read the password.
    InFile(PathBuf),
    /// With a credential helper.
    WithHelper(String),
}

impl AuthFiles {
    /// `$REGISTRY_AUTH_FILE` alone if it is set. Otherwise Podman's `$XDG_RUNTIME_DIR/containers/auth.json` (for root without a session
    /// `/run/containers/0/auth.json`) and `$XDG_CONFIG_HOME/containers/auth.json`, then Docker's `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, which is the one that is written.
    #[must_use]
    pub fn from_environment() -> AuthFiles {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = path("REGISTRY_AUTH_FILE") {
            return AuthFiles { read: vec![file.clone()], write: file };
        }
        let home = path("HOME").unwrap_or_else(|| PathBuf::from("/root"));
        let docker = path("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker")).join("config.json");
        // Without a session only root has such a place.
        let runtime = path("XDG_RUNTIME_DIR")
            .map_or_else(|| "/run/containers/0".into(), |path| path.join("containers"));
        let config = path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("containers");
        AuthFiles {
            read: vec![runtime.join("auth.json"), config.join("auth.json"), docker.clone()],
            write: docker,
        }
    }

    /// The credentials for a repository: of the first file that has some, the entry that says most of the repository's name.
    ///
    /// # Errors
    /// [`Error::AuthFile`] for a file that is there and cannot be read, [`Error::Helper`].
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        watch: &dyn Watch,
    ) -> Result<Option<Credential>, Error> {
        for path in &self.read {
            if let Some(file) = AuthFile::open(path)?
                && let Some(credential) = file.find(registry, repository, watch)?
            {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// Keeps credentials for a registry.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::AuthFile`], [`Error::Helper`].
    pub fn store(&self, registry: &str, credential: &Credential, watch: &dyn Watch) -> Result<Stored, Error> {
        let mut file = AuthFile::open(&self.write)?.unwrap_or_else(|| AuthFile::empty(&self.write));
        if let Some(name) = file.helper_for(registry) {
            helper::store(&name, server_url(registry), credential, watch)?;
            file.set(registry, Some(json!({})));
            file.write()?;
            return Ok(Stored::WithHelper(name));
        }
        let entry = match credential {
            Credential::Password { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            // As Docker files it: the user of an identity token is of no meaning.
            Credential::Identity { token } => {
                json!({ "auth": STANDARD.encode("<token>:"), "identitytoken": token })
            }
            Credential::Registry { token } => json!({ "registrytoken": token }),
        };
        file.set(registry, Some(entry));
        file.write()?;
        Ok(Stored::InFile(self.write.clone()))
    }

    /// Forgets a registry, in every file. Says whether there was anything to forget.
    ///
    /// # Errors
    /// As [`AuthFiles::store`].
    pub fn erase(&self, registry: &str, watch: &dyn Watch) -> Result<bool, Error> {
        let mut erased = false;
        for path in &self.read {
            let Some(mut file) = AuthFile::open(path)? else { continue };
            if let Some(name) = file.helper_for(registry)
                && helper::get(&name, server_url(registry), watch)?.is_some()
            {
                helper::erase(&name, server_url(registry), watch)?;
                erased = true;
            }
            if file.set(registry, None) {
                file.write()?;
                erased = true;
            }
        }
        Ok(erased)
    }

    /// The registries that one is logged in to by an entry of a file.
    ///
    /// # Errors
    /// [`Error::AuthFile`].
    pub fn registries(&self) -> Result<Vec<String>, Error> {
        let mut registries = Vec::new();
        for path in &self.read {
            let Some(file) = AuthFile::open(path)? else { continue };
            registries.extend(file.table("auths").into_iter().flat_map(Map::keys).map(|key| normal(key)));
        }
        registries.sort();
        registries.dedup();
        Ok(registries)
    }
}

/// One such file.
#[derive(Debug, Clone)]
struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl AuthFile {
    /// `None` if it is not there.
    fn open(path: &Path) -> Result<Option<AuthFile>, Error> {
        use std::io::Read as _;
        let file = match fs::File::open(path) {
            Ok(file) => file,
            // A directory that others may not enter hides what is not ours anyway.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let mut text = String::new();
        file.take(FILE_LIMIT).read_to_string(&mut text).map_err(Error::file("read", path))?;
        if text.trim().is_empty() {
            return Ok(Some(AuthFile::empty(path)));
        }
        let content = serde_json::from_str(&text).map_err(|error| Error::AuthFile {
            path: path.to_owned(),
            // The error's own text may quote a password.
            reason: format!(
                "line {}, column {}: it is not the JSON that is expected",
                error.line(),
                error.column()
            ),
        })?;
        Ok(Some(AuthFile { path: path.to_owned(), content }))
    }

    fn empty(path: &Path) -> AuthFile {
        AuthFile { path: path.to_owned(), content: Map::new() }
    }

    fn table(&self, name: &str) -> Option<&Map<String, Value>> {
        self.content.get(name).and_then(Value::as_object)
    }

    /// The helper that keeps this registry's credentials.
    fn helper_for(&self, registry: &str) -> Option<String> {
        let own = self.table("credHelpers").into_iter().flatten();
        let own = own.filter(|(key, _)| normal(key) == registry).find_map(|(_, value)| value.as_str());
        let all = self.content.get("credsStore").and_then(Value::as_str);
        own.or(all).filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn find(&self, registry: &str, repository: &str, watch: &dyn Watch) -> Result<Option<Credential>, Error> {
        if let Some(name) = self.helper_for(registry)
            && let Some(credential) = helper::get(&name, server_url(registry), watch)?
        {
            return Ok(Some(credential));
        }
        let whole = format!("{registry}/{repository}");
        let entries = self.table("auths").into_iter().flatten().map(|(key, value)| (normal(key), value));
        let best = entries
            .filter(|(key, _)| {
                whole.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .filter_map(|(key, value)| Some((key.len(), credential(value)?)))
            .max_by_key(|(length, _)| *length);
        Ok(best.map(|(_, credential)| credential))
    }

    /// Replaces or removes the entries of a registry. Whether there was one.
    fn set(&mut self, registry: &str, entry: Option<Value>) -> bool {
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else { return false };
        let known: Vec<String> = auths.keys().filter(|key| normal(key) == registry).cloned().collect();
        for key in &known {
            auths.remove(key);
        }
        if let Some(entry) = entry {
            auths.insert(server_url(registry).to_owned(), entry);
        }
        !known.is_empty()
    }

    /// Written beside and renamed: another login at the same time sees the old file or the new one. For the owner alone from the start.
    fn write(&self) -> Result<(), Error> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        private_directory(directory).map_err(Error::file("make the directory", directory))?;
        // What the user keeps elsewhere and links to stays a link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let mut text = serde_json::to_vec_pretty(&self.content)
            .map_err(|error| Error::AuthFile { path: path.clone(), reason: error.to_string() })?;
        text.push(b'\n');
        let written = private_file(&temporary).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        });
        written.map_err(|error| {
            // It may never have come to be.
            let _ = fs::remove_file(&temporary);
            Error::file("write", path)(error)
        })
    }
}

/// For the owner alone, whatever the umask says. One that is there is the user's own doing.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What helpers and files call a registry.
fn server_url(registry: &str) -> &str {
    if registry == HUB { HUB_KEY } else { registry }
}

/// A key without its scheme and API path: `https://ghcr.io/v2/` is `ghcr.io`. All names of Docker Hub are one.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => HUB.to_owned(),
        _ => key.to_owned(),
    }
}

fn credential(entry: &Value) -> Option<Credential> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credential::Identity { token: token.to_owned() });
    }
    if let Some(token) = text("registrytoken") {
        return Some(Credential::Registry { token: token.to_owned() });
    }
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        let password = password.trim_end_matches('\0').to_owned();
        return Some(Credential::Password { user: user.to_owned(), password });
    }
    let (user, password) = text("username").zip(text("password"))?;
    Some(Credential::Password { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.to_owned(), password: password.to_owned() })
    }

    fn files(directory: &Path, text: &str) -> AuthFiles {
        let path = directory.join("config.json");
        fs::write(&path, text).unwrap();
        AuthFiles { read: vec![directory.join("none.json"), path.clone()], write: path }
    }

    #[test]
    fn the_entry_that_says_most_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let auth = |text: &str| STANDARD.encode(text);
        let files = files(
            directory.path(),
            &format!(
                r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"ghcr.io":{{"auth":"{}"}},"ghcr.io/team":{{"username":"t","password":"p:2"}},
                "https://quay.io/v2/":{{"identitytoken":"tok"}},"bad.io":{{"auth":"%%"}},"empty.io":{{}}}}}}"#,
                auth("hub:a:b"),
                auth("me:x"),
            ),
        );
        for (registry, repository, expected) in [
            ("docker.io", "library/debian", password("hub", "a:b")),
            ("ghcr.io", "other/x", password("me", "x")),
            ("ghcr.io", "team/x", password("t", "p:2")),
            ("ghcr.io", "teams/x", password("me", "x")),
            ("quay.io", "a", Some(Credential::Identity { token: "tok".to_owned() })),
            ("bad.io", "a", None),
            ("empty.io", "a", None),
            ("hcr.io", "a", None),
            ("evil.io", "ghcr.io/team", None),
        ] {
            assert_eq!(
                files.find(registry, repository, &Unwatched).unwrap(),
                expected,
                "{registry}/{repository}"
            );
        }
    }

    #[test]
    fn logins_leave_everything_else_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(
            directory.path(),
            r#"{"psFormat":"x","auths":{"https://localhost:5000/v2/":{"auth":"YTpi"},"b.io":{"auth":"YTpi"}},"z":[1]}"#,
        );
        let credential = password("u", "p").unwrap();
        assert_eq!(
            files.store("localhost:5000", &credential, &Unwatched).unwrap(),
            Stored::InFile(files.write.clone())
        );
        assert_eq!(files.find("localhost:5000", "x", &Unwatched).unwrap(), Some(credential));
        assert!(files.erase("b.io", &Unwatched).unwrap());
        assert!(!files.erase("b.io", &Unwatched).unwrap());
        let text = fs::read_to_string(&files.write).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({ "psFormat": "x", "auths": { "localhost:5000": { "auth": "dTpw" } }, "z": [1] })
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&files.write).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_directory_that_a_login_makes_is_the_owner_s() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let write = directory.path().join("new/.docker/config.json");
        let files = AuthFiles { read: Vec::new(), write: write.clone() };
        files.store("a.io", &password("u", "p").unwrap(), &Unwatched).unwrap();
        let made = write.parent().unwrap();
        for made in [made, made.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700, "{}", made.display());
        }
    }

    #[test]
    fn a_broken_file_is_named_without_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path(), r#"{"auths": "secret" x"#);
        let error = files.find("a.io", "x", &Unwatched).unwrap_err().to_string();
        assert!(
            error.contains("config.json") && error.contains("line 1") && !error.contains("secret"),
            "{error}"
        );
    }
}
