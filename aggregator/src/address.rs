//! Where a store's log is to be had, as a URL: `http://host:port` or, for its data directory,
//! `file:///path`. One spelling for each place, so that places can be compared as text.

use std::path::{Path, PathBuf};

use reqwest::Url;

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 1024;

/// Where a store's log is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeAddress {
    /// A node, without a slash at the end.
    Http(String),
    /// A data directory, from the root on.
    Directory(PathBuf),
}

impl NodeAddress {
    /// Reads a URL; the error says in words what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > URL_BYTES_MAX {
            return Err(format!("must be at most {URL_BYTES_MAX} bytes"));
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must have no query and no fragment".to_owned());
        }
        match url.scheme() {
            "http" => Ok(Self::Http(text.trim_end_matches('/').to_owned())),
            "file" => {
                let path = url.to_file_path();
                path.map(Self::Directory).map_err(|()| "must be file:///path".to_owned())
            }
            _ => Err("must begin with http:// or file://".to_owned()),
        }
    }

    /// The address of a directory; a relative path begins where the process does.
    pub fn of_directory(path: &Path) -> Result<Self, String> {
        std::path::absolute(path).map(Self::Directory).map_err(|error| error.to_string())
    }

    /// The one URL of this place.
    pub fn to_url(&self) -> Result<String, String> {
        match self {
            Self::Http(url) => Ok(url.clone()),
            Self::Directory(path) => {
                let url = Url::from_file_path(path)
                    .map_err(|()| format!("{} has no URL", path.display()))?;
                Ok(url.as_str().trim_end_matches('/').to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_one_url() {
        for (text, expected) in [
            ("http://a:1/", Ok("http://a:1")),
            ("file:///data/store%20a/", Ok("file:///data/store%20a")),
            ("file:///data/../data/x", Ok("file:///data/x")),
            ("file://elsewhere/data", Err("file:///path")),
            ("https://a", Err("http://")),
            ("http://a?x=1", Err("query")),
            ("a:1/b", Err("http://")),
            ("", Err("relative URL")),
        ] {
            let url = NodeAddress::parse(text).and_then(|address| address.to_url());
            match expected {
                Ok(expected) => assert_eq!(url.as_deref(), Ok(expected), "{text}"),
                Err(word) => assert!(url.unwrap_err().contains(word), "{text}"),
            }
        }
        let relative = NodeAddress::of_directory(Path::new("data/store a")).unwrap();
        let url = relative.to_url().unwrap();
        assert!(url.starts_with("file:///") && url.ends_with("/data/store%20a"), "{url}");
        assert_eq!(NodeAddress::parse(&url), Ok(relative));
    }
}
