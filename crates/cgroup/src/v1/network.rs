//! `net_cls` and `net_prio`: marks on a container's traffic.

use onggi_oci::NetworkResources;

use crate::Error;
use crate::plan::Limits;

pub(super) fn limits(limits: &mut Limits<'_>, network: &NetworkResources) -> Result<(), Error> {
    if let Some(class) = network.class_id {
        limits.write("network class", "net_cls", "net_cls.classid", class)?;
    }
    for each in &network.priorities {
        let value = format!("{} {}", each.name, each.priority);
        limits.write("network priority", "net_prio", "net_prio.ifpriomap", value)?;
    }
    Ok(())
}
