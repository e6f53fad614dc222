//! CRIU's requests and answers, by the field numbers of its `rpc.proto` (<https://github.com/checkpoint-restore/criu/blob/v4.2/images/rpc.proto>):
//! those that a runtime uses. Pure.

use super::protobuf::{Malformed, Writer, fields};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Kind {
    /// As protobuf spells it, and so runc's errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Dump => "DUMP",
            Kind::Restore => "RESTORE",
            Kind::PreDump => "PRE_DUMP",
            Kind::Notify => "NOTIFY",
            Kind::FeatureCheck => "FEATURE_CHECK",
            Kind::Version => "VERSION",
        }
    }

    fn of(number: u64) -> Option<Kind> {
        let kinds =
            [Kind::Dump, Kind::Restore, Kind::PreDump, Kind::Notify, Kind::FeatureCheck, Kind::Version];
        kinds.into_iter().find(|&kind| kind as u64 == number)
    }
}

/// `criu_cg_mode`: what is restored of control groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CgroupMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    #[default]
    Default = 6,
}

/// A descriptor of CRIU's own that stands for something in the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inherited {
    pub(crate) key: String,
    pub(crate) descriptor: i32,
}

/// `criu_opts`. Descriptors of directories are the caller's: CRIU opens them through `/proc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) images_directory: i32,
    pub(crate) work_directory: Option<i32>,
    pub(crate) pid: Option<i32>,
    pub(crate) leave_running: bool,
    pub(crate) external_unix_sockets: bool,
    pub(crate) tcp_established: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) evasive_devices: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) log_file: &'static str,
    /// Address and port.
    pub(crate) page_server: Option<(String, u16)>,
    pub(crate) root: String,
    pub(crate) parent_images: Option<String>,
    pub(crate) auto_dedup: bool,
    pub(crate) link_remap: bool,
    /// Mount points inside and what stands for them: on a dump a name, on a restore a path of the host's.
    pub(crate) external_mounts: Vec<(String, String)>,
    pub(crate) cgroup_mode: CgroupMode,
    /// Controllers of a hierarchy and the group that is the container's in it.
    pub(crate) cgroup_roots: Vec<(String, String)>,
    pub(crate) restore_sibling: bool,
    pub(crate) inherited: Vec<Inherited>,
    /// `net[INODE]:KEY`.
    pub(crate) external: Vec<String>,
    /// `CLONE_NEW…`.
    pub(crate) empty_namespaces: u32,
    /// Kinds and paths of namespaces to join.
    pub(crate) joined: Vec<(&'static str, String)>,
    pub(crate) freeze_cgroup: Option<String>,
    pub(crate) lazy_pages: bool,
    pub(crate) status_descriptor: Option<i32>,
    pub(crate) configuration: Option<String>,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}

/// CRIU's own levels: 4 is everything.
const LOG_EVERYTHING: i32 = 4;

impl Options {
    fn write(&self, to: &mut Writer) {
        let text = |to: &mut Writer, field, value: &Option<String>| {
            if let Some(value) = value {
                to.text(field, value);
            }
        };
        let integer = |to: &mut Writer, field, value: Option<i32>| {
            if let Some(value) = value {
                to.integer(field, value);
            }
        };
        let pair = |to: &mut Writer, field, one: &str, other: &str| {
            to.message(field, |to| {
                to.text(1, one);
                to.text(2, other);
            });
        };
        to.integer(1, self.images_directory);
        integer(to, 2, self.pid);
        to.switch(3, self.leave_running);
        to.switch(4, self.external_unix_sockets);
        to.switch(5, self.tcp_established);
        to.switch(6, self.evasive_devices);
        to.switch(7, self.shell_job);
        to.switch(8, self.file_locks);
        to.integer(9, LOG_EVERYTHING);
        to.text(10, self.log_file);
        if let Some((address, port)) = &self.page_server {
            to.message(11, |to| {
                to.text(1, address);
                to.integer(2, i32::from(*port));
            });
        }
        // notify_scripts: tell us at each stage.
        to.switch(12, true);
        to.text(13, &self.root);
        text(to, 14, &self.parent_images);
        // track_mem, without which the next dump has nothing to compare with.
        to.switch(15, self.parent_images.is_some());
        to.switch(16, self.auto_dedup);
        integer(to, 17, self.work_directory);
        to.switch(18, self.link_remap);
        self.external_mounts.iter().for_each(|(key, value)| pair(to, 23, key, value));
        // manage_cgroups, for versions that do not know the mode (34).
        to.switch(24, true);
        self.cgroup_roots.iter().for_each(|(controller, path)| pair(to, 25, controller, path));
        to.switch(26, self.restore_sibling);
        for Inherited { key, descriptor } in &self.inherited {
            to.message(27, |to| {
                to.text(1, key);
                to.integer(2, *descriptor);
            });
        }
        to.number(34, self.cgroup_mode as u64);
        self.external.iter().for_each(|external| to.text(37, external));
        to.number(38, u64::from(self.empty_namespaces));
        self.joined.iter().for_each(|(kind, path)| pair(to, 39, kind, path));
        text(to, 44, &self.freeze_cgroup);
        to.switch(46, self.tcp_skip_in_flight);
        to.switch(48, self.lazy_pages);
        integer(to, 49, self.status_descriptor);
        // orphan_pts_master: the terminal's other side is ours.
        to.switch(50, true);
        text(to, 51, &self.configuration);
        text(to, 53, &self.lsm_profile);
        text(to, 63, &self.lsm_mount_context);
    }
}

/// What a version may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// To know which pages have changed since the last dump.
    MemoryTracking = 1,
    LazyPages = 2,
}

impl Feature {
    /// As runc calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Feature::MemoryTracking => "MemTrack",
            Feature::LazyPages => "LazyPages",
        }
    }
}

/// A `criu_req` with options.
pub(crate) fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, kind as u64);
    writer.message(2, |to| options.write(to));
    writer.finish()
}

pub(crate) fn version_request() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, Kind::Version as u64);
    writer.finish()
}

pub(crate) fn feature_request(feature: Feature) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, Kind::FeatureCheck as u64);
    writer.message(5, |to| to.switch(feature as u32, true));
    writer.finish()
}

/// The answer to a notification: whether CRIU may go on.
pub(crate) fn notified(success: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, Kind::Notify as u64);
    writer.number(3, u64::from(success));
    writer.finish()
}

/// `criu_resp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) kind: Kind,
    pub(crate) success: bool,
    pub(crate) notification: Option<Notification>,
    pub(crate) errno: i32,
    /// Bits by [`Feature`].
    features: u32,
    /// 40200 is 4.2.0; one made from a checkout counts as the next minor one, as for runc.
    pub(crate) version: Option<u32>,
}

/// A stage that CRIU has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) stage: String,
    /// Of the first process, in our pid namespace.
    pub(crate) pid: Option<i32>,
}

impl Response {
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features & 1 << feature as u32 != 0
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Response, Malformed> {
        let mut kind = None;
        let mut success = None;
        let (mut notification, mut errno, mut features, mut version) = (None, 0, 0, None);
        for field in fields(bytes) {
            let (number, value) = field?;
            match number {
                1 => kind = Some(value.number()?),
                2 => success = Some(value.switch()?),
                5 => notification = Some(parse_notification(value.bytes()?)?),
                7 => errno = value.integer()?,
                8 => features = parse_features(value.bytes()?)?,
                10 => version = Some(parse_version(value.bytes()?)?),
                _ => {}
            }
        }
        let kind = kind.ok_or(Malformed("an answer has no type"))?;
        let kind = Kind::of(kind).ok_or(Malformed("an answer is of a type that nobody has asked for"))?;
        let success = success.ok_or(Malformed("an answer does not say whether it is a success"))?;
        Ok(Response { kind, success, notification, errno, features, version })
    }
}

fn parse_notification(bytes: &[u8]) -> Result<Notification, Malformed> {
    let mut notification = Notification::default();
    for field in fields(bytes) {
        match field? {
            (1, value) => value.text()?.clone_into(&mut notification.stage),
            (2, value) => notification.pid = Some(value.integer()?),
            _ => {}
        }
    }
    Ok(notification)
}

fn parse_features(bytes: &[u8]) -> Result<u32, Malformed> {
    let mut found = 0;
    for field in fields(bytes) {
        if let (number @ 1..=31, value) = field?
            && value.switch()?
        {
            found |= 1 << number;
        }
    }
    Ok(found)
}

fn parse_version(bytes: &[u8]) -> Result<u32, Malformed> {
    let (mut major, mut minor, mut sublevel, mut is_checkout) = (0, 0, 0, false);
    let small = |number: u64| {
        u32::try_from(number).ok().filter(|&number| number < 1000).ok_or(Malformed("a version is too large"))
    };
    for field in fields(bytes) {
        match field? {
            (1, value) => major = small(value.number()?)?,
            (2, value) => minor = small(value.number()?)?,
            (3, _) => is_checkout = true,
            (4, value) => sublevel = small(value.number()?)?,
            _ => {}
        }
    }
    Ok(if is_checkout { major * 10_000 + (minor + 1) * 100 } else { major * 10_000 + minor * 100 + sublevel })
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::Value;
    use super::*;
    use proptest::prelude::*;

    fn response(write: impl FnOnce(&mut Writer)) -> Result<Response, Malformed> {
        let mut writer = Writer::default();
        write(&mut writer);
        Response::parse(&writer.finish())
    }

    #[test]
    fn a_version_is_one_number() {
        let version = |major, minor, sublevel: Option<u64>, checkout: bool| {
            let answer = response(|to| {
                to.number(1, 10);
                to.switch(2, true);
                to.message(10, |to| {
                    to.number(1, major);
                    to.number(2, minor);
                    if checkout {
                        to.text(3, "v4.1-12-gabcdef");
                    }
                    if let Some(sublevel) = sublevel {
                        to.number(4, sublevel);
                    }
                });
            });
            answer.map(|answer| answer.version)
        };
        assert_eq!(version(3, 17, Some(1), false), Ok(Some(31701)));
        assert_eq!(version(4, 2, None, false), Ok(Some(40200)));
        assert_eq!(version(4, 1, Some(1), true), Ok(Some(40200)));
        assert_eq!(version(u64::MAX, 0, None, false), Err(Malformed("a version is too large")));
    }

    #[test]
    fn an_answer_is_whole_and_of_a_known_type() {
        let notify = response(|to| {
            to.number(1, 6);
            to.switch(2, true);
            to.message(5, |to| {
                to.text(1, "post-restore");
                to.integer(2, 4711);
            });
        });
        let stage = Notification { stage: "post-restore".to_owned(), pid: Some(4711) };
        assert_eq!(notify.unwrap().notification, Some(stage));
        let failed = response(|to| {
            to.number(1, 1);
            to.number(2, 0);
            to.integer(7, 22);
            to.text(9, "why");
        });
        let failed = failed.unwrap();
        assert_eq!((failed.kind, failed.success, failed.errno), (Kind::Dump, false, 22));
        let features = response(|to| {
            to.number(1, 9);
            to.switch(2, true);
            to.message(8, |to| to.switch(2, true));
        });
        let features = features.unwrap();
        assert!(features.has(Feature::LazyPages) && !features.has(Feature::MemoryTracking));
        for (bytes, text) in [
            (&[][..], "no type"),
            (&[0x08, 0x63, 0x10, 0x01], "nobody has asked for"),
            (&[0x08, 0x01], "whether it is a success"),
            (&[0x0a, 0x01, 0x01, 0x10, 0x01], "is to be a number"),
            (&[0x08, 0x06, 0x10, 0x01, 0x2a, 0x02, 0x0a, 0x05], "in the middle"),
        ] {
            let error = Response::parse(bytes).unwrap_err();
            assert!(error.0.contains(text), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_request_has_the_numbers_of_the_protocol() {
        let options = Options {
            images_directory: 7,
            work_directory: Some(8),
            pid: Some(42),
            leave_running: true,
            log_file: "dump.log",
            page_server: Some(("::1".to_owned(), 27277)),
            root: "/bundle/rootfs".to_owned(),
            parent_images: Some("../before".to_owned()),
            external_mounts: vec![("/data".to_owned(), "/data".to_owned())],
            cgroup_mode: CgroupMode::Soft,
            external: vec!["net[4]:extRootNetNS".to_owned()],
            empty_namespaces: 0x4000_0000,
            ..Options::default()
        };
        let bytes = request(Kind::Dump, &options);
        let outer: Vec<_> = fields(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(outer[0], (1, Value::Number(1)));
        let inner: Vec<_> = fields(outer[1].1.bytes().unwrap()).collect::<Result<_, _>>().unwrap();
        let numbers: Vec<u32> = inner.iter().map(|&(number, _)| number).collect();
        assert_eq!(numbers, [1, 2, 3, 9, 10, 11, 12, 13, 14, 15, 17, 23, 24, 34, 37, 38, 50]);
        assert_eq!(inner[0].1.integer(), Ok(7));
        assert_eq!(inner[13].1.number(), Ok(3), "SOFT");
        let pair: Vec<_> = fields(inner[11].1.bytes().unwrap()).collect::<Result<_, _>>().unwrap();
        assert_eq!(pair, [(1, Value::Bytes(b"/data")), (2, Value::Bytes(b"/data"))]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes: Vec<u8>) {
            let _ = Response::parse(&bytes);
        }

        /// What begins well, and then is anything.
        #[test]
        fn any_end_of_an_answer_is_read_or_refused(field in 3u32..12, bytes: Vec<u8>) {
            let mut writer = Writer::default();
            writer.number(1, 6);
            writer.switch(2, true);
            let mut answer = writer.finish();
            answer.push((field << 3 | 2) as u8);
            answer.push(bytes.len().min(127) as u8);
            answer.extend(bytes);
            let _ = Response::parse(&answer);
        }
    }
}
