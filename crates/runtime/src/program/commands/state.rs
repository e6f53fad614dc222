//! `state`: what is known of one container, as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::super::arguments::Parsed;
use super::super::birth::Birth;
use super::super::error::Error;
use super::super::status::{self, Status};
use super::super::store::{self, Directory};
use super::super::{Context, print};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "state",
    usage: "<container-id>",
    about: "output the state of a container",
    flags: &[],
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let answer = Answer::of(&context.store.find(&flags.positional[0])?)?;
    let text = serde_json::to_string_pretty(&answer)
        .map_err(|source| Error::Json { path: "the answer".to_owned(), source })?;
    print(&format!("{text}\n"))?;
    Ok(0)
}

/// runc's `containerState`, in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    oci_version: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
    pub(crate) bundle: String,
    rootfs: String,
    pub(crate) created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(crate) owner: String,
}

impl Answer {
    pub(crate) fn of(directory: &Directory) -> Result<Answer, Error> {
        let record = match directory.read() {
            Err(Error::DoesNotExist) => {
                return Ok(Answer::creating(directory.birth()?.ok_or(Error::DoesNotExist)?.birth, directory));
            }
            other => other?,
        };
        let status = status::of(directory, &record);
        Ok(Answer {
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.name(),
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.to_string_lossy().into_owned(),
            created: record.created,
            annotations: record.annotations,
            owner: user_name(record.owner),
        })
    }
}

impl Answer {
    /// Somebody is at it, or was killed over it.
    fn creating(birth: Birth, directory: &Directory) -> Answer {
        Answer {
            oci_version: birth.oci_version,
            id: birth.id,
            pid: 0,
            status: "creating",
            bundle: birth.bundle.to_string_lossy().into_owned(),
            rootfs: birth.rootfs.to_string_lossy().into_owned(),
            created: birth.created,
            annotations: BTreeMap::new(),
            owner: user_name(store::owner(&directory.path)),
        }
    }
}

/// `#1000` if the host has no name for it, as runc says it.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
