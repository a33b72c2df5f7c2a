//! `mirror-bundle repair`
use super::args::{Global, Repair};
use super::term::Terminal;
use crate::error::{Code, Error, Result};
pub(super) fn run(_: &Repair, _: &Global, _: &Terminal) -> Result<u8> {
    Err(Error::new(Code::Usage, "not yet"))
}
