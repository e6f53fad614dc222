//! `hugetlb`: bytes of huge pages of each size, used and reserved.

use onggi_oci::HugepageLimit;

use crate::Error;
use crate::plan::{IfMissing, Limits};

pub(super) fn limits(limits: &mut Limits<'_>, list: &[HugepageLimit]) -> Result<(), Error> {
    for HugepageLimit { page_size, limit } in list {
        crate::v2::check_page_size(page_size)?;
        limits.write("hugepage limit", "hugetlb", &format!("hugetlb.{page_size}.limit_in_bytes"), limit)?;
        let file = format!("hugetlb.{page_size}.rsvd.limit_in_bytes");
        limits.write_or("hugepage limit", "hugetlb", &file, limit, IfMissing::Skip)?;
    }
    Ok(())
}
