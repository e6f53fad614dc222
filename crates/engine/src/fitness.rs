//! Whether an image and a request fit this host, as far as looking at both tells: refusals, and sentences of warning for a person.
//!
//! The texts are Docker's (`daemon/create.go`, `daemon/daemon_unix.go`) where it has them.

use std::path::Path;

use onggi_image::Platform;
use onggi_store::Image;

use crate::emulation::{self, Emulation};
use crate::error::Error;
use crate::request::{MountRequest, RunRequest};

/// What has no effect here, or may not go well.
///
/// # Errors
/// The image is for another system, or for another platform than the one that was asked for; a label of SELinux is asked for
/// where SELinux is.
pub(crate) fn check(request: &RunRequest, image: &Image) -> Result<Vec<String>, Error> {
    check_labels(request, Path::new("/sys/fs/selinux/enforce").exists())?;
    let (found, host) = (image.config.platform(), Platform::host());
    let mut warnings = platform(request, &found, &host)?;
    if !found.agrees_with(&host) {
        warnings.extend(not_emulated(&found, &emulation::of_architecture(&found.architecture)));
    }
    if request.healthcheck.as_ref().is_some_and(|check| check.test.first().is_none_or(|word| word != "NONE"))
    {
        warnings.push("health checks are kept and shown, but not run yet".to_owned());
    }
    if request.resources.oom_kill_disable && request.resources.memory.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// An image for another processor is only warned of, since an emulator may be there.
fn platform(request: &RunRequest, image: &Platform, host: &Platform) -> Result<Vec<String>, Error> {
    if let Some(text) = request.platform.as_ref().filter(|text| !text.is_empty()) {
        let asked: Platform = text.parse().map_err(|what| Error::Invalid { what })?;
        if !image.agrees_with(&asked) {
            return Err(Error::OtherPlatform {
                image: request.image.clone(),
                found: image.to_string(),
                asked: asked.to_string(),
            });
        }
    }
    if !image.os.is_empty() && image.os != host.os {
        return Err(Error::OtherSystem { os: image.os.clone(), host: host.to_string() });
    }
    if image.agrees_with(host) || request.platform.is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "The requested image's platform ({image}) does not match the detected host platform ({host}) and no specific platform was requested"
    )])
}

/// Why an image for another processor will not start, and what to do about it.
fn not_emulated(image: &Platform, emulation: &Emulation) -> Option<String> {
    match emulation {
        Emulation::Runs => None,
        Emulation::None => Some(format!(
            "no emulator is registered for programs of {image}: `apt-get install qemu-user-static binfmt-support` registers one"
        )),
        Emulation::InterpreterInside { interpreter } => Some(format!(
            "the emulator for programs of {image} is looked for inside the container, as {interpreter}: register it with the flag F              (binfmt_misc), as Debian's qemu-user-static does"
        )),
    }
}

/// Without SELinux there is no label to change, and Docker takes `:z` for nothing; with it, a label left as it is would be a surprise.
fn check_labels(request: &RunRequest, selinux: bool) -> Result<(), Error> {
    let labelled = request.mounts.iter().find(|mount| {
        matches!(
            mount,
            MountRequest::Bind { relabel: Some(_), .. } | MountRequest::Volume { relabel: Some(_), .. }
        )
    });
    match labelled {
        Some(mount) if selinux => Err(Error::NotBuilt {
            what: format!("the label of SELinux that `:z` asks for at {}", mount.destination()),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Relabel;

    #[test]
    fn platforms() {
        let of = |text: &str| text.parse::<Platform>().unwrap();
        let host = of("linux/amd64");
        let asking = |asked: Option<&str>, image: &str| {
            let request = RunRequest {
                image: "jar".into(),
                platform: asked.map(str::to_owned),
                ..RunRequest::default()
            };
            platform(&request, &of(image), &host).map_err(|error| error.to_string())
        };
        assert_eq!(asking(None, "linux/amd64"), Ok(vec![]));
        assert_eq!(asking(Some("linux/amd64"), "linux/amd64"), Ok(vec![]));
        assert_eq!(asking(Some("amd64"), "linux/amd64"), Ok(vec![]));
        assert_eq!(
            asking(Some("linux/arm64"), "linux/arm64"),
            Ok(vec![]),
            "asked for, so nothing to warn of"
        );
        assert!(asking(None, "linux/arm64").unwrap()[0].contains("(linux/arm64) does not match"));
        assert_eq!(
            asking(Some("linux/arm64"), "linux/amd64").unwrap_err(),
            "image with reference jar was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)"
        );
        assert!(asking(None, "windows/amd64").unwrap_err().contains("operating system is not supported"));
        assert!(asking(Some("a/b/c/d"), "linux/amd64").is_err());
    }

    #[test]
    fn what_no_emulator_runs_is_told() {
        let image: Platform = "linux/arm64".parse().unwrap();
        assert_eq!(not_emulated(&image, &Emulation::Runs), None);
        assert!(
            not_emulated(&image, &Emulation::None).unwrap().contains("programs of linux/arm64: `apt-get")
        );
        let inside = Emulation::InterpreterInside { interpreter: "/usr/bin/qemu".to_owned() };
        assert!(not_emulated(&image, &inside).unwrap().contains("as /usr/bin/qemu"));
    }

    #[test]
    fn labels_matter_where_selinux_is() {
        let mount = |relabel| MountRequest::Volume {
            name: None,
            destination: "/x".into(),
            read_only: false,
            no_copy: false,
            labels: Default::default(),
            relabel,
            by_mount: false,
        };
        let of = |relabel| RunRequest { mounts: vec![mount(relabel)], ..RunRequest::default() };
        assert!(check_labels(&of(Some(Relabel::Private)), false).is_ok());
        assert!(check_labels(&of(None), true).is_ok());
        assert!(check_labels(&of(Some(Relabel::Private)), true).is_err());
    }
}
