//! The two messages with lists, read by hand: prost's derive would make forty bytes of memory of every two bytes of a
//! request that lists empty verifiers. One element more than the core takes is kept, so that the core refuses it.

use bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, bytes as byte_field, message, skip_field, string};
use prost::{DecodeError, Message};

use super::{DsseRequest, Envelope};
use crate::rekor_v2::MAX_SIGNATURES;

/// A list that is read no further.
fn is_full<T>(list: &[T]) -> bool {
    list.len() > MAX_SIGNATURES
}

impl Message for DsseRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(envelope) = &self.envelope {
            message::encode(1, envelope, buf);
        }
        message::encode_repeated(2, &self.verifiers, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge(wire, self.envelope.get_or_insert_default(), buf, context),
            2 if !is_full(&self.verifiers) => {
                message::merge_repeated(wire, &mut self.verifiers, buf, context)
            }
            _ => skip_field(wire, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let envelope = self.envelope.as_ref().map_or(0, |envelope| message::encoded_len(1, envelope));
        envelope + message::encoded_len_repeated(2, &self.verifiers)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Envelope {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        byte_field::encode(1, &self.payload, buf);
        string::encode(2, &self.payload_type, buf);
        message::encode_repeated(3, &self.signatures, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => byte_field::merge(wire, &mut self.payload, buf, context),
            2 => string::merge(wire, &mut self.payload_type, buf, context),
            3 if !is_full(&self.signatures) => {
                message::merge_repeated(wire, &mut self.signatures, buf, context)
            }
            _ => skip_field(wire, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        byte_field::encoded_len(1, &self.payload)
            + string::encoded_len(2, &self.payload_type)
            + message::encoded_len_repeated(3, &self.signatures)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
