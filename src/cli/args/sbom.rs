//! Arguments of `sbom`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{Output, Trust};

/// `sbom`
///
/// Elsewhere `-o` is the output format; here it names the file, as in every tool that writes SBOMs. The format of the
/// answer is still `--output`.
#[derive(Debug, ClapArgs)]
pub struct Sbom {
    /// The bundle, or its volumes or copies, or folders of them; - reads it from standard input
    #[arg(value_name = "BUNDLE", required = true)]
    pub bundle: Vec<PathBuf>,
    /// Only this image: its reference, the end of it (app:1), a component's name, or a digest (repeatable). One image
    /// gives the document of that image; several or none, that of the bundle with all of them
    #[arg(long, value_name = "IMAGE")]
    pub image: Vec<String>,
    /// Of lists only the images for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// The form of the document: SPDX 2.3 or CycloneDX 1.6, both JSON
    #[arg(long, value_enum, default_value_t = Format::Cyclonedx, value_name = "spdx|cyclonedx",
          hide_possible_values = true)]
    pub format: Format,
    /// Write the document to this file. A folder, or a name that ends with `/`, gets one document for each image, and
    /// one for the bundle; - is standard output [default: -]
    #[arg(short = 'o', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace existing documents
    #[arg(long)]
    pub force: bool,
    /// The format of the answer, which -o FILE leaves on standard output: text, one JSON document, or JSON lines
    #[arg(long, id = "output", value_enum, default_value_t = Output::Text, value_name = "text|json|jsonl",
          hide_possible_values = true, help_heading = "Output")]
    pub output: Output,
    /// Trust.
    #[command(flatten)]
    pub trust: Trust,
}

/// The form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// SPDX 2.3
    Spdx,
    /// CycloneDX 1.6
    Cyclonedx,
}
