//! `blkio`: weights (by the BFQ scheduler, since CFQ went in Linux 5.0) and throttles of block devices.

use onggi_oci::{BlockIo, ThrottleDevice};

use crate::Error;
use crate::plan::{IfMissing, Limits};

pub(super) fn limits(limits: &mut Limits<'_>, block_io: &BlockIo) -> Result<(), Error> {
    let given = |weight: Option<u16>| weight.filter(|&weight| weight != 0);
    if given(block_io.leaf_weight)
        .or(block_io.weight_device.iter().find_map(|device| given(device.leaf_weight)))
        .is_some()
    {
        return Err(crate::v2::leaf_weight());
    }
    if let Some(weight) = given(block_io.weight) {
        let weight = check(weight)?;
        let instead = IfMissing::Instead { file: "blkio.weight".into(), value: weight.to_string() };
        limits.write_or("block io weight", "blkio", "blkio.bfq.weight", weight, instead)?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = given(device.weight) {
            let value = format!("{}:{} {}", device.major, device.minor, check(weight)?);
            let instead = IfMissing::Instead { file: "blkio.weight_device".into(), value: value.clone() };
            let file = "blkio.bfq.weight_device";
            limits.write_or("block io weight of a device", "blkio", file, value, instead)?;
        }
    }
    for (key, devices) in [
        ("read_bps", &block_io.throttle_read_bps_device),
        ("write_bps", &block_io.throttle_write_bps_device),
        ("read_iops", &block_io.throttle_read_iops_device),
        ("write_iops", &block_io.throttle_write_iops_device),
    ] {
        for ThrottleDevice { major, minor, rate } in devices {
            let file = format!("blkio.throttle.{key}_device");
            limits.write("block io throttle", "blkio", &file, format!("{major}:{minor} {rate}"))?;
        }
    }
    Ok(())
}

fn check(weight: u16) -> Result<u16, Error> {
    if (10..=1000).contains(&weight) {
        return Ok(weight);
    }
    let reason = format!("{weight} is not between 10 and 1000");
    Err(Error::BadLimit { limit: "block io weight".into(), reason })
}
