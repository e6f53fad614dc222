//! `hugetlb`: bytes of huge pages of each size, both used and reserved.

use onggi_oci::HugepageLimit;

use crate::Error;
use crate::plan::{IfMissing, Limits};

pub(super) fn limits(limits: &mut Limits<'_>, list: &[HugepageLimit]) -> Result<(), Error> {
    for HugepageLimit { page_size, limit } in list {
        check_page_size(page_size)?;
        limits.write("hugepage limit", "hugetlb", &format!("hugetlb.{page_size}.max"), limit)?;
        // Reservations (Linux 5.7): without this limit an mmap beyond the first one dies by SIGBUS at the first touch.
        let file = format!("hugetlb.{page_size}.rsvd.max");
        limits.write_or("hugepage limit", "hugetlb", &file, limit, IfMissing::Skip)?;
    }
    Ok(())
}

/// `64KB`, `2MB`, `1GB`: the specification's form, which is the kernel's in the name of the file.
pub(crate) fn check_page_size(text: &str) -> Result<(), Error> {
    let digits = text.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G'])).unwrap_or("");
    if !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(());
    }
    Err(Error::BadLimit {
        limit: "hugepage limit".into(),
        reason: format!("page size {text:?} is not like 2MB"),
    })
}

#[cfg(test)]
mod tests {
    use super::check_page_size;

    #[test]
    fn page_sizes_are_checked_because_they_become_file_names() {
        for good in ["64KB", "2MB", "1GB"] {
            assert!(check_page_size(good).is_ok(), "{good}");
        }
        for bad in ["", "2M", "MB", "02MB", "2mb", "../2MB", "+2MB", "2 MB"] {
            assert!(check_page_size(bad).is_err(), "{bad}");
        }
    }
}
