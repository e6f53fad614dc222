//! `--device-read-bps /dev/sda:1mb` and its kin: a block device of the host, and how much of it.

use onggi_settings::bytes;

use crate::request::DeviceAmount;

/// `PATH:WEIGHT` of `--blkio-weight-device`; 10 to 1000.
///
/// # Errors
/// No path below `/dev`, or no such weight.
pub fn device_weight(text: &str) -> Result<DeviceAmount, String> {
    let weight = |text: &str| {
        let weight = text.parse::<u64>().ok().filter(|weight| (10..=1000).contains(weight));
        weight.ok_or_else(|| "the weight is a number between 10 and 1000".to_owned())
    };
    amount(text, "500", weight)
}

/// `PATH:RATE` of `--device-read-bps` and `--device-write-bps`: bytes in a second.
///
/// # Errors
/// No path below `/dev`, or no amount of bytes.
pub fn device_rate(text: &str) -> Result<DeviceAmount, String> {
    amount(text, "1mb", bytes::parse)
}

/// `PATH:RATE` of `--device-read-iops` and `--device-write-iops`: operations in a second.
///
/// # Errors
/// No path below `/dev`, or no whole number.
pub fn device_iops(text: &str) -> Result<DeviceAmount, String> {
    let number = |text: &str| text.parse().map_err(|_| "the rate is a whole number".to_owned());
    amount(text, "1000", number)
}

fn amount(
    text: &str,
    example: &str,
    parse: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<DeviceAmount, String> {
    let bad = |what: &str| format!("bad format: {text}: {what}; write /dev/sda:{example}");
    let (path, value) = text.rsplit_once(':').ok_or_else(|| bad("there is no colon"))?;
    if !path.starts_with("/dev/") {
        return Err(bad("the path of a device begins with /dev/"));
    }
    Ok(DeviceAmount { path: path.to_owned(), amount: parse(value).map_err(|problem| bad(&problem))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_devices() {
        let of = |path: &str, amount| Ok(DeviceAmount { path: path.to_owned(), amount });
        assert_eq!(device_weight("/dev/sda:10"), of("/dev/sda", 10));
        assert_eq!(device_rate("/dev/sda:1mb"), of("/dev/sda", 1 << 20));
        assert_eq!(device_iops("/dev/disk/by-id/a:b:7"), of("/dev/disk/by-id/a:b", 7));
        for text in ["/dev/sda", "sda:10", "/dev/sda:9", "/dev/sda:1001", "/dev/sda:x", "/dev/sda:"] {
            assert!(device_weight(text).is_err(), "{text}");
        }
        assert!(device_rate("/dev/sda:fast").is_err() && device_iops("/dev/sda:1mb").is_err());
    }
}
