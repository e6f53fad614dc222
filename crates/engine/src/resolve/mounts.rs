//! What a container has mounted: the request's mounts, those that other containers lend, the image's volumes.
//!
//! Where each goes and what it is, by name only: volumes are made, and sources looked at, when the container is.

use std::collections::{BTreeMap, BTreeSet};

use onggi_image::config::RunConfig;
use onggi_runtime::plan::clean;
use onggi_settings::Settings;

use super::process::working_directory;
use super::{Facts, invalid};
use crate::error::Error;
use crate::record::{MountKind, MountPoint};
use crate::request::{MountRequest, RunRequest};

/// The kernel takes a size of 0 for "no limit"; Docker takes it for its default.
const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// The request's, then what other containers lend for places that are free, then the image's volumes.
pub(super) fn mounts(
    request: &RunRequest,
    image: &RunConfig,
    facts: &mut Facts<'_>,
) -> Result<Vec<MountPoint>, Error> {
    let mut points = Vec::new();
    let mut destinations = BTreeSet::new();
    for mount in &request.mounts {
        if !destinations.insert(mount.destination().to_owned()) {
            return Err(invalid(format!("Duplicate mount point: {}", mount.destination())));
        }
        points.push(mount_point(mount, facts.new_volume));
    }
    // As in Docker, of two containers that lend for one place the later is taken.
    let mut lent = BTreeMap::new();
    for point in facts.borrowed.iter().filter(|point| !destinations.contains(&point.destination)) {
        lent.insert(point.destination.clone(), point.clone());
    }
    destinations.extend(lent.keys().cloned());
    points.extend(lent.into_values());
    for destination in image.volumes.keys() {
        let destination = working_directory(None, destination)?;
        // It would hide the image itself; `-v x:/` is refused in the same words.
        if destination == "/" {
            return Err(invalid("invalid specification: destination can't be '/'"));
        }
        if destinations.insert(destination.clone()) {
            let (name, labels) = ((facts.new_volume)(), BTreeMap::new());
            let kind = MountKind::Volume { name, anonymous: true, no_copy: false, labels, relabel: None };
            points.push(MountPoint { destination, read_only: false, kind });
        }
    }
    Ok(points)
}

/// Bytes of `/dev/shm`.
pub(super) fn shm_size(request: &RunRequest, settings: &Settings) -> u64 {
    match request.shm_size.unwrap_or(settings.shm_size) {
        0 => DEFAULT_SHM_SIZE,
        size => size,
    }
}

fn mount_point(mount: &MountRequest, new_volume: &mut dyn FnMut() -> String) -> MountPoint {
    let destination = mount.destination().to_owned();
    let (read_only, kind) = match mount.clone() {
        MountRequest::Bind { source, read_only, propagation, recursive, create_source, relabel, .. } => {
            // Or what a `..` takes back would be made on the host.
            let source = clean(&source);
            (read_only, MountKind::Bind { source, propagation, recursive, create_source, relabel })
        }
        MountRequest::Volume { name, read_only, no_copy, labels, relabel, .. } => {
            let anonymous = name.is_none();
            let name = name.unwrap_or_else(new_volume);
            (read_only, MountKind::Volume { name, anonymous, no_copy, labels, relabel })
        }
        MountRequest::Tmpfs { size, mode, mut options, .. } => {
            let read_only = options.iter().any(|option| option == "ro");
            options.retain(|option| !matches!(option.as_str(), "ro" | "rw"));
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            (read_only, MountKind::Tmpfs { options })
        }
    };
    MountPoint { destination, read_only, kind }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, image, record, tmpfs};
    use super::*;
    use crate::request::Propagation;

    #[test]
    fn shared_memory_is_never_without_a_limit() {
        let image = image(None, Some(&["sh"]));
        for (asked, size) in [(None, 64 << 20), (Some(0), 64 << 20), (Some(4096), 4096)] {
            let request = RunRequest { shm_size: asked, ..RunRequest::default() };
            assert_eq!(record(&request, &image).unwrap().resolved.shm_size, size);
        }
    }

    #[test]
    fn a_bind_is_of_the_path_that_is_meant() {
        let bind = MountRequest::Bind {
            source: "/tmp/nope/../../etc//x/.".into(),
            destination: "/x".into(),
            read_only: false,
            propagation: Propagation::default(),
            recursive: true,
            create_source: true,
            relabel: None,
        };
        let request = RunRequest { mounts: vec![bind], ..RunRequest::default() };
        let record = record(&request, &image(None, Some(&["sh"]))).unwrap();
        assert!(
            matches!(&record.resolved.mounts[0].kind, MountKind::Bind { source, .. } if source == "/etc/x")
        );
    }

    #[test]
    fn image_volumes_become_anonymous_unless_something_is_there() {
        let mut image = image(None, Some(&["sh"]));
        for path in ["/data", "var/lib//db", "/a"] {
            image.volumes.insert(path.to_owned(), onggi_image::config::Empty {});
        }
        let request = RunRequest { mounts: vec![tmpfs("/a")], ..RunRequest::default() };
        let record = record(&request, &image).unwrap();
        let destinations: Vec<&str> =
            record.resolved.mounts.iter().map(|mount| mount.destination.as_str()).collect();
        assert_eq!(destinations, ["/a", "/data", "/var/lib/db"]);
        assert_eq!(record.volumes().collect::<Vec<_>>(), [("anonymous-1", true), ("anonymous-2", true)]);
    }

    #[test]
    fn an_image_cannot_have_a_volume_in_its_own_place() {
        for path in ["/", "", "/.", "/a/.."] {
            let mut image = image(None, Some(&["sh"]));
            image.volumes.insert(path.to_owned(), onggi_image::config::Empty {});
            let error = record(&RunRequest::default(), &image).unwrap_err().to_string();
            assert_eq!(error, "invalid specification: destination can't be '/'", "{path:?}");
        }
    }

    #[test]
    fn two_mounts_have_two_places() {
        samples::refused(&[(
            RunRequest { mounts: vec![tmpfs("/a"), tmpfs("/a")], ..RunRequest::default() },
            "Duplicate mount point: /a",
        )]);
    }
}
