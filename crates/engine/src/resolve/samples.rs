//! Requests and records for tests: of what is resolved here, and of what is made of it.

use std::collections::BTreeMap;

use onggi_image::Digest;
use onggi_image::config::RunConfig;
use onggi_settings::Settings;

use super::{Facts, resolve};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{Limits, MountRequest, Propagation, RunRequest, Security, Ulimit};

/// A record as `create` would write it, with everything random or of the host fixed.
pub(crate) fn record(request: &RunRequest, image: &RunConfig) -> Result<Record, Error> {
    let nowhere = |_: &str| None;
    let sources = onggi_settings::Sources { system: "/nowhere".into(), variable: &nowhere };
    let settings = Settings::load_from(&sources, 0, &onggi_settings::Flags::default()).unwrap();
    let id: ContainerId = "c0ffee".repeat(11)[..64].parse().unwrap();
    let mut volumes = 0;
    let mut new_volume = || {
        volumes += 1;
        format!("anonymous-{volumes}")
    };
    let resolved = resolve(
        request,
        &mut Facts {
            id: &id,
            layers: &[],
            config: image,
            settings: &settings,
            host_name: "the-host",
            shared_hostname: None,
            processors: 4,
            processor_list: "0-2,5",
            memory_nodes: "0",
            borrowed: &[],
            new_volume: &mut new_volume,
        },
    )?;
    Ok(Record {
        version: crate::record::VERSION,
        id,
        name: "box".to_owned(),
        created: "2026-01-02T03:04:05.000000006Z".to_owned(),
        image: Digest::of(b"image"),
        run: false,
        request: request.clone(),
        resolved,
    })
}

pub(super) fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn image(entrypoint: Option<&[&str]>, cmd: Option<&[&str]>) -> RunConfig {
    RunConfig { entrypoint: entrypoint.map(texts), cmd: cmd.map(texts), ..RunConfig::default() }
}

/// Each request is refused, and the refusal has these words in it.
pub(super) fn refused(cases: &[(RunRequest, &str)]) {
    for (request, expected) in cases {
        let message = record(request, &image(None, Some(&["sh"]))).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

pub(crate) fn tmpfs(destination: &str) -> MountRequest {
    MountRequest::Tmpfs {
        destination: destination.into(),
        size: None,
        mode: None,
        options: vec![],
        text: None,
    }
}

/// A request with something in every field.
pub(crate) fn full_request() -> RunRequest {
    RunRequest {
        image: "debian".into(),
        command: texts(&["nginx", "-g", "daemon off;"]),
        env: texts(&["A=1"]),
        workdir: Some("/srv".into()),
        user: Some("www-data".into()),
        group_add: texts(&["audio"]),
        tty: true,
        hostname: Some("jar".into()),
        domainname: Some("example.org".into()),
        read_only: true,
        shm_size: Some(1 << 20),
        cap_add: texts(&["NET_ADMIN"]),
        cap_drop: texts(&["CHOWN"]),
        security: Security {
            no_new_privileges: true,
            unmask: texts(&["/proc/kcore", "/sys/*"]),
            ..Default::default()
        },
        sysctls: BTreeMap::from([("kernel.shmmax".into(), "1024".into())]),
        oom_score_adj: Some(500),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }],
        resources: Limits {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1".into()),
            pids: Some(100),
            ..Limits::default()
        },
        cgroup_parent: Some("tests".into()),
        mounts: vec![
            MountRequest::Bind {
                source: "/host/deep".into(),
                destination: "/srv/deep/er".into(),
                read_only: true,
                propagation: Propagation::Rslave,
                recursive: true,
                create_source: true,
                relabel: None,
            },
            MountRequest::Volume {
                name: Some("box".into()),
                destination: "/srv".into(),
                read_only: false,
                no_copy: false,
                labels: BTreeMap::new(),
                relabel: None,
                by_mount: false,
            },
            MountRequest::Tmpfs {
                destination: "/run".into(),
                size: Some(4096),
                mode: Some(0o755),
                options: texts(&["ro"]),
                text: Some("size=4k,mode=755,ro".into()),
            },
            tmpfs("/dev/shm"),
        ],
        ..RunRequest::default()
    }
}
