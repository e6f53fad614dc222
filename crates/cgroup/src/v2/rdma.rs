//! `rdma`: handles and objects of each RDMA device; v1's file has the same form.

use std::collections::BTreeMap;

use onggi_oci::Rdma;

use crate::Error;
use crate::plan::Limits;

pub(crate) fn limits(limits: &mut Limits<'_>, devices: &BTreeMap<String, Rdma>) -> Result<(), Error> {
    for (name, device) in devices {
        if name.is_empty() || name.contains(char::is_whitespace) {
            let reason = format!("{name:?} is no name of a device");
            return Err(Error::BadLimit { limit: "rdma".into(), reason });
        }
        let mut value = name.clone();
        for (key, number) in [("hca_handle", device.hca_handles), ("hca_object", device.hca_objects)] {
            if let Some(number) = number {
                value.push_str(&format!(" {key}={number}"));
            }
        }
        if value.len() > name.len() {
            limits.write("rdma", "rdma", "rdma.max", value)?;
        }
    }
    Ok(())
}
