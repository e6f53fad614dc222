//! Docker's form of a seccomp profile (`--security-opt seccomp=FILE`), resolved for one machine and one set of capabilities. Pure.
//!
//! It is the OCI object with `archMap` in place of `architectures`, and with rules that hold only for some architectures, capabilities
//! or kernels (moby/profiles, `seccomp/seccomp.go`). A profile in the OCI's own form passes through unchanged.

use onggi_oci as oci;
use serde::Deserialize;

/// What a rule may depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// Go's name of the architecture, `amd64`.
    pub(super) go_arch: &'a str,
    /// libseccomp's, `SCMP_ARCH_X86_64`.
    pub(super) scmp_arch: &'a str,
    /// Major and minor version of the kernel.
    pub(super) kernel: (u32, u32),
    /// With the `CAP_` prefix.
    pub(super) capabilities: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    syscalls: Vec<Rule>,
    #[serde(flatten)]
    plain: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    /// The old form of `names`.
    #[serde(default)]
    name: Option<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<oci::SyscallArg>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// The profile as the compiler takes it. The error is a sentence.
pub(super) fn resolve(profile: &serde_json::Value, machine: Machine<'_>) -> Result<oci::Seccomp, String> {
    let profile: Profile = serde_json::from_value(profile.clone()).map_err(|error| error.to_string())?;
    let plain = serde_json::Value::Object(profile.plain);
    let mut resolved: oci::Seccomp = serde_json::from_value(plain).map_err(|error| error.to_string())?;
    if !resolved.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err("'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'".to_owned());
    }
    if let Some(entry) = profile.arch_map.into_iter().find(|entry| entry.architecture == machine.scmp_arch) {
        resolved.architectures.push(entry.architecture);
        resolved.architectures.extend(entry.sub_architectures.unwrap_or_default());
    }
    for rule in profile.syscalls {
        let names = match (rule.name, rule.names) {
            (Some(_), names) if !names.is_empty() => {
                return Err(
                    "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'"
                        .to_owned(),
                );
            }
            (Some(name), _) => vec![name],
            (None, names) => names,
        };
        let included = rule.includes.map_or(Ok(true), |condition| machine.has_all(&condition))?;
        let excluded = rule.excludes.map_or(Ok(false), |condition| machine.has_any(&condition))?;
        if included && !excluded {
            resolved.syscalls.push(oci::Syscall {
                names,
                action: rule.action,
                errno_ret: rule.errno_ret,
                args: rule.args.unwrap_or_default(),
            });
        }
    }
    Ok(resolved)
}

impl Machine<'_> {
    /// `includes`: the architecture is listed, every capability is there, the kernel is new enough.
    fn has_all(self, condition: &Condition) -> Result<bool, String> {
        let arch = condition.arches.as_ref().is_none_or(|list| list.is_empty() || self.is_listed(list));
        let caps = condition.caps.iter().flatten().all(|cap| self.capabilities.contains(cap));
        Ok(arch && caps && self.is_new_enough(condition)?.unwrap_or(true))
    }

    /// `excludes`: any one of them is enough.
    fn has_any(self, condition: &Condition) -> Result<bool, String> {
        let arch = condition.arches.as_ref().is_some_and(|list| self.is_listed(list));
        let caps = condition.caps.iter().flatten().any(|cap| self.capabilities.contains(cap));
        Ok(arch || caps || self.is_new_enough(condition)?.unwrap_or(false))
    }

    fn is_listed(self, arches: &[String]) -> bool {
        arches.iter().any(|arch| arch == self.go_arch)
    }

    fn is_new_enough(self, condition: &Condition) -> Result<Option<bool>, String> {
        let Some(text) = &condition.min_kernel else { return Ok(None) };
        let version =
            version(text).ok_or_else(|| format!("minKernel {text:?} is not a version such as 4.8"))?;
        Ok(Some(self.kernel >= version))
    }
}

/// Major and minor number at the beginning of a kernel's release.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &serde_json::Value, capabilities: &[&str]) -> Result<Vec<String>, String> {
        let capabilities: Vec<String> = capabilities.iter().map(|&cap| cap.to_owned()).collect();
        let machine = Machine {
            go_arch: "amd64",
            scmp_arch: "SCMP_ARCH_X86_64",
            kernel: (6, 1),
            capabilities: &capabilities,
        };
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            ],
            "syscalls": rules,
        });
        let resolved = resolve(&profile, machine)?;
        assert_eq!(resolved.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        Ok(resolved.syscalls.into_iter().flat_map(|rule| rule.names).collect())
    }

    #[test]
    fn which_rules_hold() {
        let table = [
            (serde_json::json!({}), true),
            (serde_json::json!({"includes": {"arches": ["amd64"]}}), true),
            (serde_json::json!({"includes": {"arches": ["arm64"]}}), false),
            (serde_json::json!({"includes": {"caps": ["CAP_BPF"]}}), true),
            (serde_json::json!({"includes": {"caps": ["CAP_BPF", "CAP_SYS_ADMIN"]}}), false),
            (serde_json::json!({"includes": {"minKernel": "4.8"}}), true),
            (serde_json::json!({"includes": {"minKernel": "6.2"}}), false),
            (serde_json::json!({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}), true),
            (serde_json::json!({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}), false),
            (serde_json::json!({"excludes": {"arches": ["s390x"]}}), true),
            (serde_json::json!({"excludes": {"arches": ["amd64"]}}), false),
            (serde_json::json!({"includes": {}, "excludes": {}, "args": null, "comment": "x"}), true),
        ];
        for (mut rule, holds) in table {
            rule["names"] = serde_json::json!(["read"]);
            rule["action"] = serde_json::json!("SCMP_ACT_ALLOW");
            let found = names(&serde_json::json!([rule]), &["CAP_BPF"]).unwrap();
            assert_eq!(found == ["read"], holds, "{rule}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let both = serde_json::json!([{"name": "read", "names": ["write"], "action": "SCMP_ACT_ALLOW"}]);
        assert!(names(&both, &[]).unwrap_err().contains("'name' and 'names'"));
        let kernel = serde_json::json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]);
        assert!(names(&kernel, &[]).unwrap_err().contains("minKernel"));
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
    }
}
