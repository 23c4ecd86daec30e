"""The key that receipts are checked with."""

from standfest.intake.receipt_check import PublicKeyDocument, public_key_document
from standfest.interfaces.api.answers import answer
from standfest.interfaces.api.asgi import Answer
from standfest.interfaces.api.operations import PUBLIC, ApiRequest, Content, Operation, services_of
from standfest.interfaces.api.routes import route


@route(
    "GET",
    "/v1/receipts/key",
    Operation(
        id="readReceiptKey",
        summary="Read the public key that signed receipts are checked with",
        scopes=PUBLIC,
        answers={200: Content("The key", PublicKeyDocument)},
    ),
)
async def read_receipt_key(request: ApiRequest) -> Answer:
    """`GET /v1/receipts/key`."""
    return answer(public_key_document(services_of(request.scope).signer.public_key))
