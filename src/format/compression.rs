//! Compression of blocks: Zstandard frames, with a dictionary trained on what they hold. Must not know what that is.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CDict, CParameter, DCtx, DDict};

use super::{FormatError, FormatResult};

/// How hard a block is compressed.
///
/// The levels up to 6 take twice to four times as long and give back 2 to 4 % (docs/adr/0011).
const LEVEL: i32 = 1;

/// The longest dictionary, in bytes: with four times as much, blocks are 1 % shorter.
const DICTIONARY_BYTES_MAX: usize = 16 << 10;

/// Trains a dictionary; `None` where the samples are too few or too small for one that would pay.
pub(crate) fn train(samples: &[Vec<u8>]) -> Option<Vec<u8>> {
    let bytes: usize = samples.iter().map(Vec::len).sum();
    let length = (bytes / SAMPLES_PER_DICTIONARY).min(DICTIONARY_BYTES_MAX);
    if length < DICTIONARY_BYTES_MIN {
        return None;
    }
    zstd::dict::from_samples(samples, length).ok().filter(|dictionary| !dictionary.is_empty())
}

/// How many times as long as a dictionary that what it is trained on must be.
const SAMPLES_PER_DICTIONARY: usize = 32;
/// Shorter dictionaries don't pay.
const DICTIONARY_BYTES_MIN: usize = 1 << 10;

/// Compresses blocks, one after the other.
pub(crate) struct Compressor {
    context: CCtx<'static>,
    dictionary: Option<CDict<'static>>,
    out: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(dictionary: Option<&[u8]>) -> FormatResult<Self> {
        let mut context = CCtx::try_create().ok_or(FAILED)?;
        // The directory has lengths and checksums; what a frame would say of them is left out.
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ] {
            context.set_parameter(parameter).map_err(|_| FAILED)?;
        }
        let dictionary = match dictionary {
            Some(bytes) => Some(CDict::try_create(bytes, LEVEL).ok_or(FAILED)?),
            None => None,
        };
        Ok(Self { context, dictionary, out: Vec::new() })
    }

    /// The compressed block; lent until the next.
    pub(crate) fn compress(&mut self, block: &[u8]) -> FormatResult<&[u8]> {
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(block.len()));
        let done = match &self.dictionary {
            Some(dictionary) => self.context.compress_using_cdict(&mut self.out, block, dictionary),
            None => self.context.compress2(&mut self.out, block),
        };
        done.map_err(|_| FAILED)?;
        Ok(&self.out)
    }
}

const FAILED: FormatError = FormatError::Damaged("the block can't be compressed");

/// Decompresses blocks, in any thread.
pub(crate) struct Decompressor {
    dictionary: Option<DDict<'static>>,
}

thread_local! {
    /// Making one costs as much as decompressing a block.
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

impl Decompressor {
    pub(crate) fn new(dictionary: Option<&[u8]>) -> FormatResult<Self> {
        let unreadable = FormatError::Damaged("the dictionary can't be read");
        let dictionary = match dictionary {
            Some(bytes) => Some(DDict::try_create(bytes).ok_or(unreadable)?),
            None => None,
        };
        Ok(Self { dictionary })
    }

    /// The bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.dictionary.as_ref().map_or(0, DDict::sizeof)
    }

    /// The block of this length that `compressed` is.
    pub(crate) fn decompress(&self, compressed: &[u8], bytes: usize) -> FormatResult<Vec<u8>> {
        let damaged = FormatError::Damaged("the block can't be decompressed");
        let mut out = Vec::with_capacity(bytes);
        CONTEXT.with_borrow_mut(|context| {
            if context.is_none() {
                *context = DCtx::try_create();
            }
            let context = context.as_mut().ok_or(damaged)?;
            let done = match &self.dictionary {
                Some(dictionary) => context.decompress_using_ddict(&mut out, compressed, dictionary),
                None => context.decompress(&mut out, compressed),
            };
            done.map_err(|_| damaged)
        })?;
        if out.len() == bytes { Ok(out) } else { Err(damaged) }
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("dictionary", &self.dictionary.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: usize) -> Vec<u8> {
        format!(
            "{{\"user\":\"u-{number}\",\"action\":\"auth.login\",\"address\":\"10.0.0.{}\"}}",
            number % 250
        )
        .repeat(10)
        .into_bytes()
    }

    #[test]
    fn blocks_come_back_with_and_without_a_dictionary() {
        let samples: Vec<Vec<u8>> = (0..2_000).map(sample).collect();
        let dictionary = train(&samples).unwrap();
        let mut lengths = Vec::new();
        for dictionary in [None, Some(&dictionary[..])] {
            let mut compressor = Compressor::new(dictionary).unwrap();
            let decompressor = Decompressor::new(dictionary).unwrap();
            let mut sum = 0;
            for block in samples.iter().take(50).chain([&Vec::new(), &vec![7; 300_000]]) {
                let compressed = compressor.compress(block).unwrap().to_vec();
                sum += compressed.len();
                assert_eq!(decompressor.decompress(&compressed, block.len()).as_ref(), Ok(block));
                assert!(decompressor.decompress(&compressed, block.len() + 1).is_err());
                assert!(block.is_empty() || decompressor.decompress(&compressed, block.len() - 1).is_err());
            }
            lengths.push(sum);
        }
        assert!(lengths[1] < lengths[0], "{lengths:?}");
    }

    #[test]
    fn few_samples_make_no_dictionary() {
        assert_eq!(train(&[sample(1)]), None);
        assert_eq!(train(&[]), None);
    }

    #[test]
    fn any_bytes_are_decompressed_without_a_panic() {
        let decompressor = Decompressor::new(None).unwrap();
        let mut compressor = Compressor::new(None).unwrap();
        let compressed = compressor.compress(&sample(3)).unwrap().to_vec();
        for bit in 0..compressed.len() * 8 {
            let mut damaged = compressed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decompressor.decompress(&damaged, sample(3).len());
        }
    }

    #[test]
    fn a_dictionary_is_as_long_as_its_samples_pay_for() {
        let of = |bytes: usize| {
            let (mut samples, mut missing) = (Vec::new(), bytes);
            for number in 0.. {
                let mut text = sample(number);
                text.truncate(missing);
                missing -= text.len();
                if text.is_empty() {
                    break;
                }
                samples.push(text);
            }
            train(&samples)
        };
        let pays = SAMPLES_PER_DICTIONARY * DICTIONARY_BYTES_MIN;
        assert_eq!(of(pays - 1), None);
        assert!(of(pays).is_some_and(|dictionary| dictionary.len() <= DICTIONARY_BYTES_MIN));
        assert!(of(2 * pays).is_some_and(|dictionary| dictionary.len() <= 2 * DICTIONARY_BYTES_MIN));
        let dictionary = of(64 * pays).unwrap();
        assert!(dictionary.len() <= DICTIONARY_BYTES_MAX);
        let with = Decompressor::new(Some(&dictionary)).unwrap();
        assert!(with.memory_bytes() > dictionary.len());
        let without = Decompressor::new(None).unwrap();
        assert_eq!(without.memory_bytes(), 0);
        assert_eq!(format!("{with:?} {without:?}").matches("dictionary: true").count(), 1);
    }
}
