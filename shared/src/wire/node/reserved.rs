//! What `GET /api/reservations` answers. Nothing here decides which rows are shown.

use serde::Serialize;

use crate::ids::OrderId;
use crate::quantity::Quantity;
use crate::reservations::Reservation;
use crate::sku::Sku;
use crate::time::Timestamp;

/// A live reservation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationView<'a> {
    /// The SKU.
    pub sku: &'a str,
    /// The order.
    pub order_id: &'a str,
    /// Units still promised.
    pub quantity: Quantity,
    /// Units first promised.
    pub requested: Quantity,
    /// Units released so far.
    pub released: Quantity,
    /// Units deducted so far.
    pub deducted: Quantity,
    /// When the promise ends; null = never.
    pub expires_at: Option<Timestamp>,
}

impl<'a> ReservationView<'a> {
    /// A reservation as it is shown.
    pub fn new(sku: &'a Sku, order_id: &'a OrderId, reservation: &Reservation) -> Self {
        Self {
            sku: sku.as_str(),
            order_id: order_id.as_str(),
            quantity: reservation.remaining,
            requested: reservation.requested,
            released: reservation.released,
            deducted: reservation.deducted,
            expires_at: reservation.expires_at,
        }
    }
}

/// A page of reservations, by SKU and then order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationPage<'a> {
    /// The rows.
    pub items: Vec<ReservationView<'a>>,
    /// Where the next page begins; null = this is the last.
    pub next_cursor: Option<String>,
}
