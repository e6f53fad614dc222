//! The flags that `checkpoint` and `restore` share, and what runc makes of them. Pure but for the working directory.

use std::path::PathBuf;

use super::super::arguments::{Flag, Parsed};
use super::super::error::Error;
use super::message::{CgroupMode, Options};

pub(crate) const IMAGE_PATH: Flag =
    Flag::with("image-path", "DIR", "the directory of CRIU's images (checkpoint)");
pub(crate) const WORK_PATH: Flag =
    Flag::with("work-path", "DIR", "the directory of CRIU's logs (that of the images)");
pub(crate) const TCP_ESTABLISHED: Flag = Flag::switch("tcp-established", "allow open tcp connections");
pub(crate) const EXT_UNIX_SK: Flag = Flag::switch("ext-unix-sk", "allow external unix sockets");
pub(crate) const SHELL_JOB: Flag = Flag::switch("shell-job", "allow shell jobs");
pub(crate) const LAZY_PAGES: Flag =
    Flag::switch("lazy-pages", "use userfaultfd to lazily restore memory pages");
pub(crate) const FILE_LOCKS: Flag = Flag::switch("file-locks", "handle file locks, for safety");
pub(crate) const MANAGE_CGROUPS_MODE: Flag =
    Flag::with("manage-cgroups-mode", "MODE", "soft, full, strict or ignore (soft)");
pub(crate) const EMPTY_NS: Flag =
    Flag::with("empty-ns", "KIND", "create a namespace, but do not restore its properties (network)");
pub(crate) const AUTO_DEDUP: Flag = Flag::switch("auto-dedup", "enable auto deduplication of memory images");

const CLONE_NEWNET: u32 = 0x4000_0000;
/// Where settings of the host's that come before those given here lie; runc's place.
const CONFIGURATION: &str = "/etc/criu/runc.conf";

/// What both commands tell CRIU.
pub(crate) fn common(flags: &Parsed, log_file: &'static str) -> Result<Options, Error> {
    Ok(Options {
        log_file,
        tcp_established: flags.has("tcp-established"),
        external_unix_sockets: flags.has("ext-unix-sk"),
        shell_job: flags.has("shell-job"),
        lazy_pages: flags.has("lazy-pages"),
        file_locks: flags.has("file-locks"),
        auto_dedup: flags.has("auto-dedup"),
        cgroup_mode: cgroup_mode(flags.value("manage-cgroups-mode").unwrap_or(""))?,
        empty_namespaces: empty_namespaces(flags.all("empty-ns"))?,
        ..Options::default()
    })
}

/// The directory of the images, as an absolute path.
pub(crate) fn image_path(flags: &Parsed) -> Result<PathBuf, Error> {
    absolute(flags.value("image-path").filter(|path| !path.is_empty()).unwrap_or("checkpoint"))
}

/// The directory of the logs, if it is another one.
pub(crate) fn work_path(flags: &Parsed) -> Result<Option<PathBuf>, Error> {
    flags.value("work-path").filter(|path| !path.is_empty()).map(absolute).transpose()
}

fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::io(format!("find {path}"), error))
}

/// Which file of settings CRIU reads: the annotation's, none if that is empty, or that of the host.
pub(crate) fn configuration(annotation: Option<&String>) -> Option<String> {
    let path = annotation.map_or(CONFIGURATION, String::as_str);
    (!path.is_empty()).then(|| path.to_owned())
}

pub(crate) fn page_server(value: Option<&str>) -> Result<Option<(String, u16)>, Error> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let parts = match value.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => value.rsplit_once(':').filter(|(address, _)| !address.contains(':')),
    };
    let whole = parts.filter(|(address, port)| !address.is_empty() && !port.is_empty());
    let (address, port) =
        whole.ok_or_else(|| Error::usage("Use --page-server ADDRESS:PORT to specify page server"))?;
    let port = port.parse().map_err(|_| Error::usage("Invalid port number"))?;
    Ok(Some((address.to_owned(), port)))
}

fn cgroup_mode(value: &str) -> Result<CgroupMode, Error> {
    Ok(match value {
        "" => CgroupMode::Default,
        "soft" => CgroupMode::Soft,
        "full" => CgroupMode::Full,
        "strict" => CgroupMode::Strict,
        "ignore" => CgroupMode::Ignore,
        _ => return Err(Error::usage("invalid manage-cgroups-mode value")),
    })
}

/// A runtime does not make what is in a network namespace, and so does not restore it; nothing else can be left out.
fn empty_namespaces<'a>(mut kinds: impl Iterator<Item = &'a str>) -> Result<u32, Error> {
    match kinds.find(|&kind| kind != "network") {
        Some(other) => Err(Error::usage(format!("namespace {other:?} is not supported"))),
        None => Ok(CLONE_NEWNET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let found = |text| page_server(Some(text)).map_err(|error| error.to_string());
        assert_eq!(found("0.0.0.0:27277"), Ok(Some(("0.0.0.0".to_owned(), 27277))));
        assert_eq!(found("[::1]:1"), Ok(Some(("::1".to_owned(), 1))));
        assert_eq!(found(""), Ok(None));
        for text in ["host", ":1", "host:", "::1", "[::1]"] {
            assert!(found(text).unwrap_err().starts_with("Use --page-server ADDRESS:PORT"), "{text}");
        }
        for text in ["host:port", "host:65536", "host:-1"] {
            assert_eq!(found(text).unwrap_err(), "Invalid port number", "{text}");
        }
    }

    #[test]
    fn words_are_those_of_runc() {
        let wrong = cgroup_mode("hard").unwrap_err().to_string();
        assert_eq!(wrong, "invalid manage-cgroups-mode value");
        assert_eq!(cgroup_mode("").unwrap(), CgroupMode::Default);
        let wrong = empty_namespaces(["network", "pid"].into_iter()).unwrap_err().to_string();
        assert_eq!(wrong, "namespace \"pid\" is not supported");
        assert_eq!(empty_namespaces([].into_iter()).unwrap(), CLONE_NEWNET);
    }

    #[test]
    fn an_empty_annotation_means_no_settings_at_all() {
        assert_eq!(configuration(None).as_deref(), Some("/etc/criu/runc.conf"));
        assert_eq!(configuration(Some(&String::new())), None);
        assert_eq!(configuration(Some(&"/a".to_owned())).as_deref(), Some("/a"));
    }
}
