"""The resources that outlive their stack, buckets and table: their names, and whether they exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.deploying.account import Account
from infra.stack.catalogue import JOBS_TABLE, OUTPUT_BUCKET, UPLOAD_BUCKET

# The property that names a kept resource.
_NAMED_BY = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::DynamoDB::Table": "TableName",
}


class Kept:
    """The buckets and the table of one stack in one account; `outputs` are the stack's, where it exists."""

    def __init__(self, stack: str, account: Account, outputs: Mapping[str, str]) -> None:
        self._account = account
        self._number = account.number()
        self._values = {
            "${AWS::StackName}": stack,
            "${AWS::AccountId}": self._number,
            "${AWS::Region}": str(account.session().region_name),
        }
        self.buckets = (self._literal(UPLOAD_BUCKET), self._literal(OUTPUT_BUCKET))
        # A stack from before tables had names of ours keeps its table: another one would be empty.
        self.table = outputs.get("JobsTable", self._literal(JOBS_TABLE))

    def existing(self) -> list[str]:
        """The resources that exist, as words for the operator."""
        existing = [f"bucket {bucket}" for bucket in self.buckets if self._has_bucket(bucket)]
        return [*existing, f"table {self.table}"] if self._has_table() else existing

    def name_in(self, resources: dict[str, Any], *, adopting: bool) -> None:
        """Write the names as literals into a template: CloudFormation adopts only literal names.

        While it adopts, a failure must not delete what was there before.
        """
        for resource in resources.values():
            property_ = _NAMED_BY.get(resource["Type"])
            if property_ == "TableName" and self.table != self._literal(JOBS_TABLE):
                del resource["Properties"][property_]
            elif property_:
                name = resource["Properties"][property_]
                resource["Properties"][property_] = self._literal(name["Fn::Sub"])
                if adopting:
                    resource["DeletionPolicy"] = "Retain"

    def _literal(self, text: str) -> str:
        for name, value in self._values.items():
            text = text.replace(name, value)
        return text

    def _has_bucket(self, name: str) -> bool:
        try:
            self._account.s3().head_bucket(Bucket=name, ExpectedBucketOwner=self._number)
        except ClientError as error:
            # 403: somebody else's, which cannot be adopted; creating it will say so.
            if error.response["Error"]["Code"] not in ("404", "403"):
                raise
            return False
        return True

    def _has_table(self) -> bool:
        dynamodb = self._account.session().client(
            "dynamodb", endpoint_url=self._account.endpoint_url
        )
        try:
            dynamodb.describe_table(TableName=self.table)
        except dynamodb.exceptions.ResourceNotFoundException:
            return False
        return True
