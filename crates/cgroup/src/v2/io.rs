//! `io`: weights and throttles of block devices.

use onggi_oci::{BlockIo, ThrottleDevice};

use crate::Error;
use crate::plan::{IfMissing, Limits};

pub(super) fn limits(limits: &mut Limits<'_>, block_io: &BlockIo) -> Result<(), Error> {
    if block_io.leaf_weight.is_some_and(|weight| weight != 0)
        || block_io.weight_device.iter().any(|device| device.leaf_weight.is_some_and(|weight| weight != 0))
    {
        return Err(leaf_weight());
    }
    if let Some(weight) = block_io.weight.filter(|&weight| weight != 0) {
        write_weight(limits, "block io weight", "default", weight)?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|&weight| weight != 0) {
            let name = format!("{}:{}", device.major, device.minor);
            write_weight(limits, "block io weight of a device", &name, weight)?;
        }
    }
    for (key, devices) in [
        ("rbps", &block_io.throttle_read_bps_device),
        ("wbps", &block_io.throttle_write_bps_device),
        ("riops", &block_io.throttle_read_iops_device),
        ("wiops", &block_io.throttle_write_iops_device),
    ] {
        for ThrottleDevice { major, minor, rate } in devices {
            let rate = if *rate == 0 { "max".into() } else { rate.to_string() };
            limits.write("block io throttle", "io", "io.max", format!("{major}:{minor} {key}={rate}"))?;
        }
    }
    Ok(())
}

/// BFQ's file where that scheduler is loaded (its range is the configuration's, 10 to 1000), else io.cost's (1 to 10000).
fn write_weight(
    limits: &mut Limits<'_>,
    limit: &'static str,
    device: &str,
    weight: u16,
) -> Result<(), Error> {
    if !(10..=1000).contains(&weight) {
        let reason = format!("{weight} is not between 10 and 1000");
        return Err(Error::BadLimit { limit: limit.into(), reason });
    }
    let cost = 1 + (u32::from(weight) - 10) * 9999 / 990;
    let instead = IfMissing::Instead { file: "io.weight".into(), value: format!("{device} {cost}") };
    limits.write_or(limit, "io", "io.bfq.weight", format!("{device} {weight}"), instead)
}

pub(crate) fn leaf_weight() -> Error {
    let reason = "it went with the CFQ scheduler, in Linux 5.0";
    Error::Unsupported { limit: "block io leaf weight".into(), reason }
}
