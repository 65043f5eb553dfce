//! bincode for the newtypes: each value is checked again when it is read, so that no invalid SKU,
//! order id or quantity can come out of a log.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use compact_str::CompactString;

use crate::cell::{Quantities, Version};
use crate::ids::{OrderId, StoreId};
use crate::quantity::Quantity;
use crate::sku::Sku;
use crate::time::Timestamp;

/// The longest text of a record, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4096;

/// Reads a bounded UTF-8 text without a detour through the heap for short ones.
pub(crate) fn decode_text<D: Decoder>(decoder: &mut D) -> Result<CompactString, DecodeError> {
    use bincode::de::read::Reader;
    let length: u64 = Decode::decode(decoder)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > TEXT_BYTES_MAX {
        return Err(DecodeError::LimitExceeded);
    }
    decoder.claim_bytes_read(length)?;
    let mut short = [0_u8; 64];
    if length <= short.len() {
        decoder.reader().read(&mut short[..length])?;
        return CompactString::from_utf8(&short[..length])
            .map_err(|_| DecodeError::Other("text is not UTF-8"));
    }
    let mut long = vec![0_u8; length];
    decoder.reader().read(&mut long)?;
    CompactString::from_utf8(&long).map_err(|_| DecodeError::Other("text is not UTF-8"))
}

macro_rules! codec_through {
    ($name:ty, |$value:ident| $inner:expr, |$decoder:ident| $decode:expr) => {
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                let $value = self;
                Encode::encode(&$inner, encoder)
            }
        }
        impl<Context> Decode<Context> for $name {
            fn decode<D: Decoder<Context = Context>>(
                $decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                $decode
            }
        }
        impl<'de, Context> BorrowDecode<'de, Context> for $name {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                Decode::decode(decoder)
            }
        }
    };
}

codec_through!(Sku, |sku| sku.as_str(), |decoder| {
    Sku::new(&decode_text(decoder)?).map_err(|_| DecodeError::Other("not a SKU"))
});
codec_through!(OrderId, |id| id.as_str(), |decoder| {
    OrderId::new(&decode_text(decoder)?).map_err(|_| DecodeError::Other("not an order id"))
});
codec_through!(StoreId, |id| id.as_str(), |decoder| {
    StoreId::new(&decode_text(decoder)?).map_err(|_| DecodeError::Other("not a store id"))
});
codec_through!(Quantity, |quantity| quantity.get(), |decoder| {
    Quantity::new(Decode::decode(decoder)?).ok_or(DecodeError::Other("not a quantity"))
});
codec_through!(Version, |version| version.get(), |decoder| {
    Ok(Version::new(Decode::decode(decoder)?))
});
codec_through!(Timestamp, |timestamp| timestamp.as_micros(), |decoder| {
    let micros: i64 = Decode::decode(decoder)?;
    let timestamp = Timestamp::from_micros(micros);
    if timestamp.as_micros() == micros {
        Ok(timestamp)
    } else {
        Err(DecodeError::Other("not a time"))
    }
});

impl Encode for Quantities {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        for quantity in self.to_array() {
            quantity.encode(encoder)?;
        }
        Ok(())
    }
}

impl<Context> Decode<Context> for Quantities {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut array = [Quantity::ZERO; 7];
        for quantity in &mut array {
            *quantity = Decode::decode(decoder)?;
        }
        Ok(Self::from_array(array))
    }
}
bincode::impl_borrow_decode!(Quantities);

/// bincode for an enum whose numbers are on disk: one explicit tag byte, then the fields in order.
/// (The derive numbers variants by position, so that reordering lines would change the format.)
macro_rules! tagged_codec {
    ($name:ident { $($tag:literal => $variant:ident $({ $($field:ident),* })?,)* }) => {
        impl ::bincode::Encode for $name {
            fn encode<E: ::bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), ::bincode::error::EncodeError> {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        let tag: u8 = $tag;
                        ::bincode::Encode::encode(&tag, encoder)?;
                        $($(::bincode::Encode::encode($field, encoder)?;)*)?
                    })*
                }
                Ok(())
            }
        }
        impl<Context> ::bincode::Decode<Context> for $name {
            fn decode<D: ::bincode::de::Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, ::bincode::error::DecodeError> {
                let tag: u8 = ::bincode::Decode::decode(decoder)?;
                match tag {
                    $($tag => Ok(Self::$variant $({
                        $($field: ::bincode::Decode::decode(decoder)?),*
                    })?),)*
                    _ => Err(::bincode::error::DecodeError::Other("unknown tag")),
                }
            }
        }
        ::bincode::impl_borrow_decode!($name);
    };
}
pub(crate) use tagged_codec;
