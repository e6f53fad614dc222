//! The namespaces of a container: its own, new or shared, and any other the host's; and what a user namespace takes out of the child's
//! hands, which has its rights inside it only.

use onggi_oci as oci;
use onggi_oci::NamespaceKind;

use super::error::{invalid, unsupported};
use super::process::limits;
use super::{Error, Extra, Step, TimeOffset, UserNamespace};

const NANOSECONDS: u32 = 1_000_000_000;

pub(super) struct Namespaces<'a> {
    all: &'a [oci::Namespace],
    linux: &'a oci::Linux,
}

impl<'a> Namespaces<'a> {
    pub(super) fn of(linux: &'a oci::Linux) -> Result<Namespaces<'a>, Error> {
        let namespaces = Namespaces { all: &linux.namespaces, linux };
        for (at, namespace) in linux.namespaces.iter().enumerate() {
            let kind = super::explain::kind_name(namespace.kind);
            if linux.namespaces[..at].iter().any(|other| other.kind == namespace.kind) {
                return Err(invalid("linux.namespaces", format!("{kind} is given twice")));
            }
            if namespace.path.as_deref().is_some_and(|path| !path.starts_with('/')) {
                return Err(invalid("linux.namespaces", format!("the path of {kind} is not absolute")));
            }
        }
        Ok(namespaces)
    }

    pub(super) fn check(&self, spec: &oci::Spec, extra: &Extra) -> Result<(), Error> {
        // Without any, its mounts are a tree that is attached nowhere; what that cannot have is refused where it is planned. One that is
        // joined gets the container's root, as with runc: an act that only the caller of a bundle can have meant.
        let is_bundle = extra.bundle.state.is_some();
        let has_mounts = self.has(NamespaceKind::Mount);
        let may_share = is_bundle && (has_mounts || !self.has(NamespaceKind::User));
        if !self.is_new(NamespaceKind::Mount) && !may_share {
            return Err(unsupported("a container without a new mount namespace"));
        }
        let named = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
        if (named(&spec.hostname) || named(&spec.domainname)) && !self.has(NamespaceKind::Uts) {
            return Err(invalid("hostname", "it cannot be set without a private UTS namespace"));
        }
        if extra.loopback && !self.is_new(NamespaceKind::Network) {
            return Err(invalid("loopback", "the network namespace is not the container's own"));
        }
        if extra.await_network && !self.is_new(NamespaceKind::Network) {
            return Err(invalid("await_network", "the network namespace is not the container's own"));
        }
        if extra.init && !self.is_new(NamespaceKind::Pid) {
            return Err(invalid("init", "the pid namespace is not the container's own"));
        }
        self.check_user()?;
        self.check_time()
    }

    fn check_user(&self) -> Result<(), Error> {
        let oci::Linux { uid_mappings, gid_mappings, .. } = self.linux;
        match self.get(NamespaceKind::User) {
            None if !uid_mappings.is_empty() || !gid_mappings.is_empty() => Err(invalid(
                "linux.uidMappings",
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            )),
            Some(oci::Namespace { path: None, .. }) if uid_mappings.is_empty() || gid_mappings.is_empty() => {
                Err(invalid(
                    "linux.namespaces",
                    "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_time(&self) -> Result<(), Error> {
        let offsets = &self.linux.time_offsets;
        match self.get(NamespaceKind::Time) {
            _ if offsets.is_empty() => Ok(()),
            None => Err(invalid(
                "linux.timeOffsets",
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            )),
            Some(oci::Namespace { path: Some(_), .. }) => Err(invalid(
                "linux.timeOffsets",
                "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
            )),
            Some(_) => self.time_offsets().map(|_| ()),
        }
    }

    fn get(&self, kind: NamespaceKind) -> Option<&'a oci::Namespace> {
        self.all.iter().find(|namespace| namespace.kind == kind)
    }

    pub(super) fn has(&self, kind: NamespaceKind) -> bool {
        self.get(kind).is_some()
    }

    pub(super) fn is_new(&self, kind: NamespaceKind) -> bool {
        self.get(kind).is_some_and(|namespace| namespace.path.is_none())
    }

    /// What the child enters itself, and what it waits for. A pid namespace is entered by the parent's side, as only children are in it;
    /// and with a user namespace all are, in the order in which the rights for them last. The mount namespace comes last: behind it the
    /// paths of the others lead somewhere else.
    pub(super) fn steps(&self) -> Result<Vec<Step>, Error> {
        let new_time = self.is_new(NamespaceKind::Time);
        if self.has(NamespaceKind::User) {
            return Ok(vec![Step::AwaitUserNamespace { time: new_time }]);
        }
        let (mounts, others): (Vec<_>, Vec<_>) =
            self.all.iter().partition(|namespace| namespace.kind == NamespaceKind::Mount);
        let joined = others.into_iter().filter(|namespace| namespace.kind != NamespaceKind::Pid);
        let mut steps: Vec<Step> = joined
            .chain(mounts)
            .filter_map(|namespace| {
                let path = namespace.path.as_ref()?;
                Some(Step::JoinNamespace { kind: namespace.kind, path: path.into() })
            })
            .collect();
        if new_time {
            steps.push(Step::EnterTimeNamespace { offsets: self.time_offsets()? });
        }
        Ok(steps)
    }

    /// `None` without a user namespace.
    pub(super) fn user(&self, process: &oci::Process) -> Result<Option<UserNamespace>, Error> {
        if !self.has(NamespaceKind::User) {
            return Ok(None);
        }
        Ok(Some(UserNamespace {
            joined: !self.is_new(NamespaceKind::User),
            users: self.linux.uid_mappings.clone(),
            groups: self.linux.gid_mappings.clone(),
            time_offsets: if self.is_new(NamespaceKind::Time) { self.time_offsets()? } else { Vec::new() },
            oom_score_adjustment: process.oom_score_adj,
            limits: limits(&process.rlimits)?,
        }))
    }

    fn time_offsets(&self) -> Result<Vec<TimeOffset>, Error> {
        let offset = |(clock, offset): (&String, &oci::TimeOffset)| {
            let field = || format!("linux.timeOffsets.{clock}");
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(invalid(field(), "there is no such clock"));
            }
            if offset.nanosecs >= NANOSECONDS {
                return Err(invalid(field(), "nanosecs is a second or more"));
            }
            Ok(TimeOffset { clock: clock.clone(), seconds: offset.secs, nanoseconds: offset.nanosecs })
        };
        self.linux.time_offsets.iter().map(offset).collect()
    }
}

/// For a process that joins a container: it is born with its rights in the user namespace only.
pub(super) fn user_of_joining(
    linux: &oci::Linux,
    process: &oci::Process,
) -> Result<Option<UserNamespace>, Error> {
    if !linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User) {
        return Ok(None);
    }
    Ok(Some(UserNamespace {
        joined: true,
        users: Vec::new(),
        groups: Vec::new(),
        time_offsets: Vec::new(),
        oom_score_adjustment: process.oom_score_adj,
        limits: limits(&process.rlimits)?,
    }))
}
