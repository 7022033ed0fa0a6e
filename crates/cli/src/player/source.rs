//! A recording's file, read line by line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use sessile_model::problem::ProblemKind;
use sessile_model::recording::{Happened, Header, MAX_LINE, ReadError, Reader};

use crate::failure::Failure;
use crate::output::printable;

/// A recording that is open.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: BufReader<File>,
    reader: Reader,
    header: Header,
    line: Vec<u8>,
}

impl Source {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// When it is no file, cannot be read or is no recording.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let doing = || format!("read {}", printable(&path.to_string_lossy()));
        let meta = std::fs::metadata(path).map_err(|e| {
            let failure = Failure::system(doing(), &e);
            match e.kind() == ErrorKind::NotFound {
                true => failure.hint("`sessile export SESSION --recording FILE` writes one"),
                false => failure,
            }
        })?;
        if !meta.is_file() {
            let detail = format!("{} is not a file", printable(&path.to_string_lossy()));
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        }
        let file = File::open(path).map_err(|e| Failure::system(doing(), &e))?;
        let mut source = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            reader: Reader::default(),
            header: Header { version: 0, size: Default::default(), idle_limit: None },
            line: Vec::new(),
        };
        source.begin()?;
        Ok(source)
    }

    /// What its first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read, or the next line is no event.
    pub fn next(&mut self) -> Result<Option<Happened>, Failure> {
        while self.read_line()? {
            if let Some(happened) = self.reader.line(&self.line).map_err(|e| self.bad(&e))? {
                return Ok(Some(happened));
            }
        }
        Ok(None)
    }

    /// Goes back to the first event.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn rewind(&mut self) -> Result<(), Failure> {
        self.file.rewind().map_err(|e| Failure::system("go back in the recording", &e))?;
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.reader = Reader::default();
        // An empty file has an empty first line.
        self.read_line()?;
        self.reader.line(&self.line).map_err(|e| self.bad(&e))?;
        if let Some(header) = self.reader.header() {
            self.header = header.clone();
        }
        Ok(())
    }

    /// Reads a line, or as much of it as shows that it is too long. False at the end.
    fn read_line(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        let most = MAX_LINE as u64 + 2;
        let count = self.file.by_ref().take(most).read_until(b'\n', &mut self.line);
        let count = count.map_err(|e| Failure::system("read the recording", &e))?;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        Ok(count > 0)
    }

    fn bad(&self, error: &ReadError) -> Failure {
        let path = printable(&self.path.to_string_lossy());
        Failure::new(ProblemKind::BadRequest, format!("{path}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_recording_is_read_again_from_its_beginning() {
        let file =
            file("{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[1,\"o\",\"a\"]\n[1,\"o\",\"b\"]");
        let mut source = Source::open(file.path()).unwrap();
        assert_eq!(source.header().size.cols, 80);
        let all = |source: &mut Source| {
            std::iter::from_fn(|| source.next().unwrap()).map(|h| h.at.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(all(&mut source), [1, 2]);
        source.rewind().unwrap();
        assert_eq!(all(&mut source), [1, 2]);
    }

    #[test]
    fn endless_lines_are_refused_without_being_held() {
        let file = file(&format!("{{\"version\":3{}", " ".repeat(MAX_LINE * 2)));
        assert!(Source::open(file.path()).is_err());
        assert!(Source::open(Path::new("/dev/zero")).is_err());
        assert!(Source::open(Path::new("/")).is_err());
        assert!(Source::open(self::file("").path()).is_err());
    }
}
