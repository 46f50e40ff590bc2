"""What outlives its stack: buckets and table, their names, and how a new stack takes them over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra.stack.catalogue import JOBS_TABLE, OUTPUT_BUCKET, UPLOAD_BUCKET

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import OutputTypeDef

    from infra.deploying.deploy import Account

_ADOPTION = "adopt"

# Where a resource that is kept says its name.
_NAMED_BY = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::DynamoDB::Table": "TableName",
}


class Kept:
    """The buckets and the table of one stack in one account."""

    def __init__(self, stack: str, account: Account, outputs: Sequence[OutputTypeDef] = ()) -> None:
        self._account = account
        self._number = account.number()
        self._values = {
            "${AWS::StackName}": stack,
            "${AWS::AccountId}": self._number,
            "${AWS::Region}": str(account.session().region_name),
        }
        self.buckets = (self._literal(UPLOAD_BUCKET), self._literal(OUTPUT_BUCKET))
        # Of a stack from before tables had names of their own, its own: another would be an empty table.
        named = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        self.table = named.get("JobsTable", self._literal(JOBS_TABLE))

    def there(self) -> list[str]:
        """Which of them exist, in words."""
        found = [f"bucket {bucket}" for bucket in self.buckets if self._has_bucket(bucket)]
        return [*found, f"table {self.table}"] if self._has_table() else found

    def name_in(self, resources: dict[str, Any], *, adopting: bool) -> None:
        """Write their names as literals into a template: CloudFormation adopts nothing else.

        And while it adopts, nothing that goes wrong may delete what was there before.
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
            # 403: somebody else's, which is not ours to adopt; creating it will say so.
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


def create_around(cloudformation: CloudFormationClient, request: dict[str, Any]) -> str | None:
    """Begin to create a stack around what is there; why not, where CloudFormation refuses."""
    cloudformation.create_change_set(
        ChangeSetName=_ADOPTION,
        ChangeSetType="CREATE",
        ImportExistingResources=True,
        # It would find names that are taken, which is what is wanted here.
        DisableValidation=True,
        **request,
    )
    at = {"ChangeSetName": _ADOPTION, "StackName": request["StackName"]}
    while True:
        change_set = cloudformation.describe_change_set(**at)
        match change_set["Status"]:
            case "CREATE_COMPLETE":
                cloudformation.execute_change_set(**at)
                return None
            case "FAILED":
                return change_set.get("StatusReason", "CloudFormation gives no reason.")
        time.sleep(1)
