//! The fixed names and bytes of an OCI image layout (image-spec 1.1 image-layout.md).

/// The file that marks a folder or archive as an image layout.
pub const MARKER: &str = "oci-layout";
/// Content of [`MARKER`], as this program writes it.
pub const MARKER_JSON: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
/// The only version of the layout.
pub const VERSION: &str = "1.0.0";
/// The index of all top-level images.
pub const INDEX: &str = "index.json";
/// The annotation that names an entry of [`INDEX`].
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
